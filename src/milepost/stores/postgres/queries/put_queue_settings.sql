insert into {schema}.milepost_queue (name, paused_at, paused_reason, weight, concurrency, capacity, when_full, spill_to)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (name) do update set
  paused_at = excluded.paused_at, paused_reason = excluded.paused_reason, weight = excluded.weight,
  concurrency = excluded.concurrency, capacity = excluded.capacity, when_full = excluded.when_full,
  spill_to = excluded.spill_to
