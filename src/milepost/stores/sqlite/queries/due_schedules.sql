select name, terms_json, request_json, counted_from, handled_until, next_at, first_at, queued_at, paused_at, runs, skipped,
  latest_task, due_at, errors, error, key, revision
from milepost_schedule indexed by milepost_schedule_due
where due_at is not null and due_at <= ?
order by due_at, key
limit ?
