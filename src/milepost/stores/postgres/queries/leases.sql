select executor, host, pid, started_at, renewed_at, lease_until, slots, running, tasks, queues, terms
from {schema}.milepost_lease
order by executor
