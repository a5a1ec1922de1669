select key, revision, name, terms_json, request_json, counted_from, handled_until, next_at, first_at, queued_at, paused_at,
  runs, skipped, latest_task, due_at, errors, error
from {schema}.milepost_schedule
order by key
