-- How a task is tied to others, beside `insert.sql` and `write.sql`, which most tasks need alone.
update milepost_task
set parent = ?, parent_position = ?, schedule = ?, schedule_at = ?, ties = ?, join_mode = ?, awaited_event = ?,
  awaited_key = ?, received_json = ?
where id = ?
