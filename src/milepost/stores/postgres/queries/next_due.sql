-- The earliest of the heads of all lanes; see `claim.sql` for what a lane is.
with recursive
  wanted (queue, name, known) as materialized (
    select queue.name, task.name, task.known
    from unnest($1::text[], $2::int[]) as task (name, known)
    cross join unnest($3::text[]) as queue (name)
    where not exists (
      select from {schema}.milepost_queue as paused where paused.name = queue.name and paused.paused_at is not null
    )
  ),
  lane (queue, name, known, version, priority, due_at) as (
    select wanted.queue, wanted.name, wanted.known, head.version, head.priority, head.due_at
    from wanted
    cross join lateral (
      select task.version, task.priority, task.due_at
      from {schema}.milepost_task as task
      where task.queue = wanted.queue and task.name = wanted.name and task.version <= wanted.known
        and task.due_at is not null
      order by task.version, task.priority, task.due_at
      limit 1
    ) as head
    union all
    select lane.queue, lane.name, lane.known, head.version, head.priority, head.due_at
    from lane
    cross join lateral (
      select task.version, task.priority, task.due_at
      from {schema}.milepost_task as task
      where task.queue = lane.queue and task.name = lane.name and task.version <= lane.known
        and task.due_at is not null and (task.version, task.priority) > (lane.version, lane.priority)
      order by task.version, task.priority, task.due_at
      limit 1
    ) as head
  )
select min(due_at) from lane
