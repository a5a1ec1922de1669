-- Jumps from queue to queue, and in each from name to name, as a claim does.
with recursive
  wanted (name, known) as materialized (select key, value from json_each(:names)),
  waiting (queue) as (
    select (
      select queue from milepost_task indexed by milepost_task_due where due_at is not null order by queue limit 1
    )
    union all
    select (
      select queue from milepost_task indexed by milepost_task_due
      where queue > waiting.queue and due_at is not null
      order by queue limit 1
    )
    from waiting
    where waiting.queue is not null
  )
select waiting.queue
from waiting
where waiting.queue is not null and exists (
  select 1
  from wanted
  cross join milepost_task as task indexed by milepost_task_due
  on task.queue = waiting.queue and task.name = wanted.name and task.version <= wanted.known
    and task.due_at is not null
)
union
select task.queue
from milepost_task as task indexed by milepost_task_running
cross join wanted
on wanted.name = task.name and task.version <= wanted.known
where task.executor is not null
order by 1
