update milepost_event
set delivered_at = ?
where number = (
  select number
  from milepost_event indexed by milepost_event_early
  where name = ? and key = ? and delivered_at is null and keep_until >= ?
  order by number
  limit 1
)
returning name, key, id, payload_json, sent_at, keep_until
