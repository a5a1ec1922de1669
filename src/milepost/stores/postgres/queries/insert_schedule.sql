insert into {schema}.milepost_schedule (
  key, revision, name, terms_json, request_json, counted_from, handled_until, next_at, first_at, queued_at, paused_at,
  runs, skipped, latest_task, due_at, errors, error
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
on conflict do nothing
returning 1
