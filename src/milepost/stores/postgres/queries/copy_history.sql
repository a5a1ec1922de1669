select line.task, line.at, line.kind, line.state, line.attempt, line.executor, line.reason, line.actor
from {schema}.milepost_history as line
where line.task = any ($1::bigint[])
order by line.task, line.revision, line.ordinal
