-- Past those that somebody else looks at.
select key, revision, name, terms_json, request_json, counted_from, handled_until, next_at, first_at, queued_at, paused_at,
  runs, skipped, latest_task, due_at, errors, error
from {schema}.milepost_schedule
where due_at is not null and due_at <= $1
order by due_at, key
limit $2
for no key update skip locked
