select name, paused_at, paused_reason, weight, concurrency, capacity, when_full, spill_to
from milepost_queue
where name in (select value from json_each(?))
