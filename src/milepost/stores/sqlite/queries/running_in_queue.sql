select count(*) from milepost_task indexed by milepost_task_running where executor is not null and queue = ?
