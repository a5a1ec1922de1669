-- What becomes of a request that `write.sql` has written already: an edit, or keys that a limit asks for.
update milepost_task
set version = ?, metadata_json = ?, initial_execution_metadata_json = ?, rate_key = ?, concurrency_key = ?
where id = ?
