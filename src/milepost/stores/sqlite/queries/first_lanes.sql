-- For each wanted name the first lane of the queue in which something waits, told by its row that is due first.
-- A lane is a name, a version and a priority; within it only due time and arrival decide.
select task.name, task.version, task.priority, task.due_at, wanted.value
from json_each(:names) as wanted
cross join milepost_task as task
on task.number = (
  select number from milepost_task indexed by milepost_task_due
  where queue = :queue and name = wanted.key and version <= wanted.value and due_at is not null
  order by version, priority, due_at limit 1
)
