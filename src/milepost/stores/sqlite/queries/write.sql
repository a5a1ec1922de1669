-- What a transition may change, if the row is still what the decision was made on.
update milepost_task
set fence = ?, token = ?, executor = ?, revision = ?, sequence = ?, epoch = ?, failures = ?, stalls = ?,
  interruptions = ?, cancel_reason = ?, execution_metadata_json = ?, result_json = ?, error_json = ?, state = ?,
  due_at = ?, started_at = ?, finished_at = ?, deadline_at = ?, cancel_requested_at = ?, crash = ?, early_proceed_at = ?, start_by = ?,
  limited_by = ?, slot_at = ?
where id = ? and fence = ? and token is ? and sequence = ? and revision = ? and state = ?
