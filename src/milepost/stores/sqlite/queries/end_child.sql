update milepost_child indexed by milepost_child_task
set state = ?, result_json = ?, error_json = ?, crash = ?
where task = ? and state is null
returning parent
