delete from milepost_event
where number in (
  select number from milepost_event indexed by milepost_event_age where keep_until < ? order by keep_until limit ?
)
returning 1
