-- How tasks are tied to others, beside `write.sql`, which most need alone and which has locked them.
update {schema}.milepost_task as task
set ties = tied.ties, join_mode = tied.join_mode, awaited_event = tied.awaited_event, awaited_key = tied.awaited_key,
  received_json = tied.received_json
from unnest($1::text[], $2::int[], $3::text[], $4::text[], $5::text[], $6::json[])
  as tied (id, ties, join_mode, awaited_event, awaited_key, received_json)
where task.id = tied.id
