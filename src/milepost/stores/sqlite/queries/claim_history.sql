-- Written from the rows themselves: after a claim these say all that its history does.
insert into milepost_history (task, revision, ordinal, at, kind, state, attempt, executor, reason)
select task.id, task.revision, 0, :now, :kind, task.state, min(task.failures, 9223372036854775806) + 1, task.executor, ''
from json_each(:numbers) as claimed
cross join milepost_task as task on task.number = claimed.value
where task.audit in (select value from json_each(:audits))
