select line.task, line.fence, line.ordinal, line.at, line.level, line.logger, line.message
from {schema}.milepost_log as line
where line.task = any ($1::bigint[])
order by line.task, line.fence, line.ordinal
