insert into {schema}.milepost_event (name, key, id, payload_json, sent_at, keep_until, delivered_at)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (name, key, id) do update set
  number = default, payload_json = excluded.payload_json, sent_at = excluded.sent_at,
  keep_until = excluded.keep_until, delivered_at = excluded.delivered_at
