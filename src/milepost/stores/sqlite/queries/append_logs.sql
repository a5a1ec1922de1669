-- A line of a run whose claim still is the task's newest; one that is there already stays.
insert or ignore into milepost_log (task, fence, ordinal, at, level, logger, message)
select task.id, ?2, ?3, ?4, ?5, ?6, ?7 from milepost_task as task where task.id = ?1 and task.fence = ?2
