select {record}
from unnest($1::text[], $2::text[]) as wanted (name, key)
cross join lateral (
  select task.*
  from {schema}.milepost_task as task
  where task.name = wanted.name and task.key = wanted.key and task.key is not null and task.finished_at is null
) as task
