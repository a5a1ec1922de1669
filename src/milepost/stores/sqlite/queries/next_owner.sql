-- The executor after a given one that owns running tasks, and until when it is believed to live.
select owner.executor, lease.lease_until
from (
  select executor from milepost_task indexed by milepost_task_running where executor > ? order by executor limit 1
) as owner
left join milepost_lease as lease on lease.executor = owner.executor
