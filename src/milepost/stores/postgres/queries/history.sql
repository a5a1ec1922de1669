select line.at, line.kind, line.state, line.attempt, line.executor, line.reason, line.actor
from {schema}.milepost_history as line
where line.task = (select task.number from {schema}.milepost_task as task where task.id = $1)
order by line.revision, line.ordinal
