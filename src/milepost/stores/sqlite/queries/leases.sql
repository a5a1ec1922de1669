select executor, host, pid, started_at, renewed_at, lease_until, slots, running, tasks_json, queues_json, terms_json
from milepost_lease
order by executor
