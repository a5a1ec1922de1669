-- Those that are as they were found, past those that others have locked, in the order of all locks on rows.
with
  doomed as materialized (
    select task.ctid as place
    from unnest($1::text[], $2::int[]) as ended (id, revision)
    join {schema}.milepost_task as task on task.id = ended.id
    where task.revision = ended.revision and task.finished_at is not null
    order by task.id
    for update of task skip locked
  ),
  gone as (
    delete from {schema}.milepost_task as task
    using doomed
    where task.ctid = doomed.place
    returning task.number, task.id
  ),
  forgotten as (
    delete from {schema}.milepost_history as line
    using gone
    where line.task = gone.number
  ),
  silenced as (
    delete from {schema}.milepost_log as line
    using gone
    where line.task = gone.number
  ),
  orphaned as (
    delete from {schema}.milepost_child as child
    using gone
    where child.parent = gone.id
  )
select id from gone
