-- Past what somebody just decides on. Reads the table: an index of these times would cost each start a second write.
with
  idle as materialized (
    select rate.name, rate.key
    from {schema}.milepost_rate as rate
    where rate.used_until < $1
    limit $2::int
    for update skip locked
  )
delete from {schema}.milepost_rate as rate
using idle
where rate.name = idle.name and rate.key = idle.key
returning 1
