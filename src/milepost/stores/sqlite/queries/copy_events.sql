select number, delivered_at, name, key, id, payload_json, sent_at, keep_until
from milepost_event
where number > ?
order by number
limit ?
