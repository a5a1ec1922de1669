update {schema}.milepost_schedule
set
  revision = revision + 1, name = $3, terms_json = $4, request_json = $5, counted_from = $6, handled_until = $7,
  next_at = $8, first_at = $9, queued_at = $10, paused_at = $11, runs = $12, skipped = $13, latest_task = $14,
  due_at = $15, errors = $16, error = $17
where key = $1 and revision = $2
returning 1
