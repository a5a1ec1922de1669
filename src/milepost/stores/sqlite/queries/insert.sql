insert into milepost_task (
  id, name, version, queue, priority, key, correlation, fence, token, executor, revision, sequence, epoch, failures,
  stalls, interruptions, deadline_seconds, cancel_reason, progress, progress_note, metadata_json,
  execution_metadata_json, initial_execution_metadata_json, result_json, error_json, audit, state, created_at, due_at,
  started_at, finished_at, deadline_at, cancel_requested_at, crash, early_proceed_at, start_by,
  rate_key, concurrency_key, limited_by, slot_at
) values (
  ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?
)
