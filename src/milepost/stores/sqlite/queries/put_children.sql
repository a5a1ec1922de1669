-- What has ended already is put with its end.
insert into milepost_child (parent, ordinal, task, name, version, state, result_json, error_json, crash)
select :parent, wanted.key, task.id, task.name, task.version, iif(task.finished_at is null, null, task.state),
  iif(task.finished_at is null, null, task.result_json), iif(task.finished_at is null, null, task.error_json),
  iif(task.finished_at is null, null, task.crash)
from json_each(:children) as wanted
cross join milepost_task as task on task.id = wanted.value
