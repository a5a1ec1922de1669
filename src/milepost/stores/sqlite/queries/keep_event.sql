insert or replace into milepost_event (name, key, id, payload_json, sent_at, keep_until, delivered_at)
values (?, ?, ?, ?, ?, ?, ?)
