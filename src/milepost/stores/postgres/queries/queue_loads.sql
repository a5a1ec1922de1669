-- Each live task is in one of three indexes: of those that wait for a time, that run, and that rest.
select queue, sum(waiting)::bigint, sum(due)::bigint, sum(running)::bigint, sum(suspended)::bigint,
  sum(quarantined)::bigint, min(oldest)
from (
  select queue, count(*) as waiting, count(*) filter (where due_at <= $1) as due, 0 as running, 0 as suspended,
    0 as quarantined, min(due_at) filter (where due_at <= $1) as oldest
  from {schema}.milepost_task
  where due_at is not null
  group by queue
  union all
  select queue, 0, 0, count(*), 0, 0, null
  from {schema}.milepost_task
  where executor is not null
  group by queue
  union all
  select queue, 0, 0, 0, count(*) filter (where state = 'suspended'), count(*) filter (where state = 'quarantined'),
    null
  from {schema}.milepost_task
  where state <> 'pending' and state <> 'running' and state <> 'completed'
    and state = any (array['suspended', 'quarantined']) and due_at is null
  group by queue
) as part
group by queue
order by queue
