select max(walked.id), max(walked.created_at), count(*)
from (
  select task.id, task.created_at from {schema}.milepost_task as task where task.id > $1 order by task.id limit $2
) as walked
