-- Who still waits for these, in the order of all locks on rows.
select task.id
from {schema}.milepost_task as task
where task.id = any (array(select child.parent from {schema}.milepost_child as child where child.task = any ($1::text[])))
  and task.state = 'suspended' and task.join_mode is not null
order by task.id
for no key update
