-- What is used of each rate, and the last slot that a task holds which waits for its start.
select wanted.name, wanted.key, rate.used_until, last.slot_at
from unnest($1::text[], $2::text[]) as wanted (name, key)
left join lateral (
  select rate.used_until from {schema}.milepost_rate as rate where rate.name = wanted.name and rate.key = wanted.key
) as rate on true
left join lateral (
  select task.slot_at
  from {schema}.milepost_task as task
  where task.name = wanted.name and task.rate_key = wanted.key and task.limited_by = 'rate'
    and task.slot_at is not null and task.due_at is not null
  order by task.slot_at desc
  limit 1
) as last on true
