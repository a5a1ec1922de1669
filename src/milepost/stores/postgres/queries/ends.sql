-- Of one stretch of ids, what ended in one of these states before its time; a state without a time is never meant.
select task.id, task.state, task.finished_at, task.revision
from {schema}.milepost_task as task
where task.id > $1 and task.id <= $2
  and task.finished_at < case task.state when 'completed' then $3::timestamptz when 'failed' then $4::timestamptz
    else $5::timestamptz end
order by task.id
limit $6
