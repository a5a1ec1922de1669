insert into {schema}.milepost_log (task, fence, ordinal, at, level, logger, message)
select task.number, line.fence, line.ordinal, line.at, line.level, line.logger, line.message
from unnest($1::text[], $2::int[], $3::int[], $4::timestamptz[], $5::int[], $6::text[], $7::text[])
  as line (id, fence, ordinal, at, level, logger, message)
cross join lateral (
  select task.number from {schema}.milepost_task as task where task.id = line.id limit 1
) as task
