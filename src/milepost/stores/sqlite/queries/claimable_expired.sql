-- Running rows whose executor has no lease, or one that has ended; executors are found by jumping from one to the next.
with recursive
  wanted (name, known) as materialized (select key, value from json_each(:names)),
  owner (executor) as (
    select min(executor) from milepost_task indexed by milepost_task_running where executor is not null
    union all
    select (
      select min(executor) from milepost_task indexed by milepost_task_running where executor > owner.executor
    )
    from owner
    where owner.executor is not null
  ),
  gone (executor) as materialized (
    select owner.executor
    from owner
    left join milepost_lease as lease on lease.executor = owner.executor
    where owner.executor is not null and (lease.lease_until is null or lease.lease_until < :now)
  )
select task.number
from gone
cross join wanted
cross join milepost_task as task
on task.number in (
  select number from milepost_task indexed by milepost_task_running
  where executor = gone.executor and queue = :queue and name = wanted.name and version <= wanted.known
  order by number limit :limit
)
order by task.number
limit :limit
