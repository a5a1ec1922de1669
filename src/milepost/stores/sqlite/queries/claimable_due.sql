-- The first due rows of every lane (name, version, priority) of one queue. Lanes are found by jumping from the head of
-- one to the head of the next, and each gives at most :limit rows, so nothing that cannot be taken is ever read.
with recursive
  wanted (name, known) as materialized (select key, value from json_each(:names)),
  lane (head, name, known, version, priority) as (
    select task.number, wanted.name, wanted.known, task.version, task.priority
    from wanted
    cross join milepost_task as task
    on task.number = (
      select number from milepost_task indexed by milepost_task_due
      where queue = :queue and name = wanted.name and version <= wanted.known and due_at is not null
      order by version, priority, due_at limit 1
    )
    union all
    select task.number, lane.name, lane.known, task.version, task.priority
    from lane
    cross join milepost_task as task
    on task.number = coalesce(
      (
        select number from milepost_task indexed by milepost_task_due
        where queue = :queue and name = lane.name and version = lane.version and priority > lane.priority
          and due_at is not null
        order by priority, due_at limit 1
      ),
      (
        select number from milepost_task indexed by milepost_task_due
        where queue = :queue and name = lane.name and version > lane.version and version <= lane.known
          and due_at is not null
        order by version, priority, due_at limit 1
      )
    )
  )
select task.number
from lane
cross join milepost_task as task
on task.number in (
  select number from milepost_task indexed by milepost_task_due
  where queue = :queue and name = lane.name and version = lane.version and priority = lane.priority and due_at <= :now
  order by due_at, number limit :limit
)
order by task.priority desc, task.due_at, task.number
limit :limit
