-- How many tasks run with each concurrency key.
select wanted.name, wanted.key, sharing.running
from unnest($1::text[], $2::text[]) as wanted (name, key)
cross join lateral (
  select count(*) as running
  from {schema}.milepost_task as task
  where task.name = wanted.name and task.concurrency_key = wanted.key and task.executor is not null
) as sharing
