insert or replace into milepost_queue (
  name, paused_at, paused_reason, weight, concurrency, capacity, when_full, spill_to
) values (?, ?, ?, ?, ?, ?, ?, ?)
