-- Keeps the ends that the tasks have by now.
update {schema}.milepost_child as child
set state = task.state, result_json = task.result_json, error_json = task.error_json, crash = task.crash
from {schema}.milepost_task as task
where task.id = any ($1::text[]) and task.finished_at is not null and child.task = task.id
  and (child.state is null) is true
returning child.parent
