-- The heads of all lanes, as in claimable_due.sql; the earliest of them is what falls due first.
with recursive
  wanted (queue, name, known) as materialized (
    select queue.value, name.key, name.value from json_each(:queues) as queue cross join json_each(:names) as name
  ),
  lane (due_at, queue, name, known, version, priority) as (
    select task.due_at, wanted.queue, wanted.name, wanted.known, task.version, task.priority
    from wanted
    cross join milepost_task as task
    on task.number = (
      select number from milepost_task indexed by milepost_task_due
      where queue = wanted.queue and name = wanted.name and version <= wanted.known and due_at is not null
      order by version, priority, due_at limit 1
    )
    union all
    select task.due_at, lane.queue, lane.name, lane.known, task.version, task.priority
    from lane
    cross join milepost_task as task
    on task.number = coalesce(
      (
        select number from milepost_task indexed by milepost_task_due
        where queue = lane.queue and name = lane.name and version = lane.version and priority > lane.priority
          and due_at is not null
        order by priority, due_at limit 1
      ),
      (
        select number from milepost_task indexed by milepost_task_due
        where queue = lane.queue and name = lane.name and version > lane.version and version <= lane.known
          and due_at is not null
        order by version, priority, due_at limit 1
      )
    )
  )
select min(due_at) from lane
