with
  doomed as materialized (
    select task.ctid as place
    from {schema}.milepost_task as task
    where task.id = any ($1::text[]) and task.executor is null
    order by task.id
    for update
  ),
  gone as (
    delete from {schema}.milepost_task as task
    using doomed
    where task.ctid = doomed.place
    returning task.number
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
  )
select count(*) from gone
