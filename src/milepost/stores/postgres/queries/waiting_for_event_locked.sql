-- Whoever asks is about to wake them. In the order of all locks on rows.
select {record}
from {schema}.milepost_task as task
where task.awaited_event = $1 and task.awaited_key = $2 and task.awaited_event is not null and task.state = 'suspended'
order by task.id
for no key update
