-- What a transition may change, if the row is still what the decision was made on.
update milepost_task
set state = ?, due_at = ?, fence = ?, token = ?, executor = ?, revision = ?, sequence = ?, epoch = ?, failures = ?,
  stalls = ?, interruptions = ?, started_at = ?, finished_at = ?, deadline_at = ?, cancel_requested_at = ?,
  cancel_reason = ?, execution_metadata_json = ?, result_json = ?, error_json = ?, crash = ?
where id = ? and state = ? and fence = ? and token is ? and sequence = ? and revision = ?
returning number, ?
