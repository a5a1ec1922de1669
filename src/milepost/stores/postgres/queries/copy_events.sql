select number, delivered_at, name, key, id, payload_json, sent_at, keep_until
from {schema}.milepost_event
where number > $1
order by number
limit $2
