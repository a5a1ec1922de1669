-- The head of each concurrency key's line: those in it who are not due at $4, up to $3 of them, past those that somebody
-- else is at. Whoever asks is about to let them in.
select {record}
from unnest($1::text[], $2::text[], $3::int[]) as wanted (name, key, most)
cross join lateral (
  select task.*
  from {schema}.milepost_task as task
  where task.name = wanted.name and task.concurrency_key = wanted.key and task.limited_by = 'concurrency'
    and task.due_at is not null and task.due_at > $4
  order by task.priority desc, task.number
  limit wanted.most
  for no key update skip locked
) as task
order by task.name, task.concurrency_key, task.priority desc, task.number
