select name, terms_json, request_json, counted_from, handled_until, next_at, first_at, queued_at, paused_at, runs, skipped,
  latest_task, due_at, errors, error, key, revision
from milepost_schedule
where key in (select value from json_each(?))
