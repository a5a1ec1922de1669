-- What does not run. The lowest bit of `ties` says that somebody waits for the end.
with
  doomed as materialized (
    select task.ctid as place
    from {schema}.milepost_task as task
    where task.id = any ($1::text[]) and task.executor is null
      and (task.ties & 1 = 0 or task.finished_at is not null)
    order by task.id
    for update
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
select count(*) from gone
