select $1::text, line.fence, line.ordinal, line.at, line.level, line.logger, line.message
from {schema}.milepost_log as line
where line.task = (select task.number from {schema}.milepost_task as task where task.id = $1)
  and (line.fence, line.ordinal) > ($2, $3)
order by line.fence, line.ordinal
limit $4
