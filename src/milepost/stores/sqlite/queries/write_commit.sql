-- `write` for a commit, which changes no more than this; the task goes on running.
update milepost_task
set execution_metadata_json = ?, sequence = ?, stalls = ?, revision = ?
where id = ? and fence = ? and token is ? and sequence = ? and revision = ? and state = 'running'
