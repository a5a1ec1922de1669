select task.*
from json_each(:keys) as wanted
cross join milepost_task as task indexed by milepost_task_key
on task.name = json_extract(wanted.value, '$[0]') and task.key = json_extract(wanted.value, '$[1]')
  and task.key is not null and task.finished_at is null
