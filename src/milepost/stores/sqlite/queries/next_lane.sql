-- The lane after a given one: its head is found by a jump in the index, past all that waits in the lane before it.
select name, version, priority, due_at
from milepost_task
where number = coalesce(
  (
    select number from milepost_task indexed by milepost_task_due
    where queue = :queue and name = :name and version = :version and priority > :priority and due_at is not null
    order by priority, due_at limit 1
  ),
  (
    select number from milepost_task indexed by milepost_task_due
    where queue = :queue and name = :name and version > :version and version <= :known and due_at is not null
    order by version, priority, due_at limit 1
  )
)
