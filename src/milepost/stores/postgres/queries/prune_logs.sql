with
  doomed as materialized (
    select line.ctid as place
    from {schema}.milepost_log as line
    where line.at < $1
    order by line.at
    limit $2
    for update skip locked
  )
delete from {schema}.milepost_log as line using doomed where line.ctid = doomed.place returning 1
