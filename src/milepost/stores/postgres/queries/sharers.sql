-- A few of those that run with a concurrency key.
select task.id, task.executor
from {schema}.milepost_task as task
where task.name = $1 and task.concurrency_key = $2 and task.executor is not null
order by task.id
limit $3::int
