-- The concurrency keys that anybody waits for, up to $3 of them from behind ($1, $2) on: a jump in the index for each.
with recursive
  line (name, key, ordinal) as (
    (
      select task.name, task.concurrency_key, 1
      from {schema}.milepost_task as task
      where task.limited_by = 'concurrency' and task.due_at is not null and task.concurrency_key is not null
        and (task.name, task.concurrency_key) > ($1, $2)
      order by task.name, task.concurrency_key
      limit 1
    )
    union all
    select following.name, following.key, line.ordinal + 1
    from line
    cross join lateral (
      select task.name, task.concurrency_key as key
      from {schema}.milepost_task as task
      where task.limited_by = 'concurrency' and task.due_at is not null and task.concurrency_key is not null
        and (task.name, task.concurrency_key) > (line.name, line.key)
      order by task.name, task.concurrency_key
      limit 1
    ) as following
    where line.ordinal < $3::int
  )
select name, key from line order by ordinal
