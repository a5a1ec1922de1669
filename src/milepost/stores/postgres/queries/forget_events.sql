-- Past what somebody else just takes.
with
  old as materialized (
    select event.number
    from {schema}.milepost_event as event
    where event.keep_until < $1
    order by event.keep_until
    limit $2
    for update skip locked
  )
delete from {schema}.milepost_event as event using old where event.number = old.number returning 1
