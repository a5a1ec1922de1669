update milepost_schedule
set due_at = ?, revision = revision + 1
where key in (select value from json_each(?)) and queued_at is not null
returning 1
