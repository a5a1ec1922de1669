with
  early as materialized (
    select event.number
    from {schema}.milepost_event as event
    where event.name = $1 and event.key = $2 and event.delivered_at is null and event.keep_until >= $3
    order by event.number
    limit 1
    for no key update
  )
update {schema}.milepost_event as event
set delivered_at = $3
from early
where event.number = early.number
returning event.name, event.key, event.id, event.payload_json, event.sent_at, event.keep_until
