select name, paused_at, paused_reason, weight, concurrency, capacity, when_full, spill_to
from {schema}.milepost_queue
order by name
