insert into milepost_schedule (
  name, terms_json, request_json, counted_from, handled_until, next_at, first_at, queued_at, paused_at, runs, skipped,
  latest_task, due_at, errors, error, key, revision
)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict do nothing
returning 1
