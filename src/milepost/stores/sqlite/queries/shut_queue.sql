select 1 from milepost_queue where name = ? and (paused_at is not null or (concurrency is not null and not ?))
