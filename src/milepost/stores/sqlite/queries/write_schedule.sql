update milepost_schedule
set name = ?, terms_json = ?, request_json = ?, counted_from = ?, handled_until = ?, next_at = ?, first_at = ?,
  queued_at = ?, paused_at = ?, runs = ?, skipped = ?, latest_task = ?, due_at = ?, errors = ?, error = ?,
  revision = revision + 1
where key = ? and revision = ?
returning 1
