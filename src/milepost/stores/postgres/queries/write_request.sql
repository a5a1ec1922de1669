-- What becomes of requests that `write.sql` has written already, and locked: an edit, or keys that a limit asks for.
update {schema}.milepost_task as task
set version = edited.version, metadata_json = edited.metadata_json,
  initial_execution_metadata_json = edited.initial_execution_metadata_json, rate_key = edited.rate_key,
  concurrency_key = edited.concurrency_key
from unnest($1::text[], $2::int[], $3::json[], $4::json[], $5::text[], $6::text[])
  as edited (id, version, metadata_json, initial_execution_metadata_json, rate_key, concurrency_key)
where task.id = edited.id
