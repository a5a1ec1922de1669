-- Each live task is in one of three indexes: of those that wait for a time, that run, and that rest.
select queue, sum(waiting), sum(due), sum(running), sum(suspended), sum(quarantined), min(oldest)
from (
  select queue, count(*) as waiting, coalesce(sum(due_at <= :now), 0) as due, 0 as running, 0 as suspended,
    0 as quarantined, min(iif(due_at <= :now, due_at, null)) as oldest
  from milepost_task indexed by milepost_task_due
  where due_at is not null
  group by queue
  union all
  select queue, 0, 0, count(*), 0, 0, null
  from milepost_task indexed by milepost_task_running
  where executor is not null
  group by queue
  union all
  select queue, 0, 0, 0, sum(state = 'suspended'), sum(state = 'quarantined'), null
  from milepost_task indexed by milepost_task_state
  where state <> 'pending' and state <> 'running' and state <> 'completed'
    and (state = 'suspended' or state = 'quarantined') and due_at is null
  group by queue
)
group by queue
order by queue
