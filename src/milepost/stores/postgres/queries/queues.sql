-- Jumps from queue to queue, and in each from name to name, as a claim does.
with recursive
  wanted (name, known) as materialized (select * from unnest($1::text[], $2::int[])),
  waiting (queue) as (
    (select queue from {schema}.milepost_task where due_at is not null order by queue limit 1)
    union all
    select (
      select task.queue from {schema}.milepost_task as task
      where task.queue > waiting.queue and task.due_at is not null
      order by task.queue
      limit 1
    )
    from waiting
    where waiting.queue is not null
  ),
  paused (name) as materialized (select name from {schema}.milepost_queue where paused_at is not null)
select waiting.queue
from waiting
where waiting.queue is not null and not exists (select from paused where paused.name = waiting.queue) and exists (
  select 1
  from wanted
  cross join lateral (
    select 1
    from {schema}.milepost_task as task
    where task.queue = waiting.queue and task.name = wanted.name and task.version <= wanted.known
      and task.due_at is not null
    limit 1
  ) as task
)
union
select task.queue
from {schema}.milepost_task as task
join wanted on wanted.name = task.name and task.version <= wanted.known
where task.executor is not null and not exists (select from paused where paused.name = task.queue)
order by 1
