select name from milepost_queue where paused_at is not null
