-- What an executor runs and an order may take, by arrival.
select task.number
from json_each(:names) as wanted
cross join milepost_task as task indexed by milepost_task_running
on task.executor = :owner and task.queue = :queue and task.name = wanted.key and task.version <= wanted.value
order by task.number
limit :limit
