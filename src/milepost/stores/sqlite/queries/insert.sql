insert into milepost_task (
  id, name, version, queue, priority, key, correlation, audit, state, due_at, fence, token, executor, revision,
  sequence, epoch, failures, stalls, interruptions, created_at, started_at, finished_at, deadline_seconds, deadline_at,
  cancel_requested_at, cancel_reason, progress, progress_note, metadata_json, execution_metadata_json,
  initial_execution_metadata_json, result_json, error_json, crash
) values (
  ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?
)
