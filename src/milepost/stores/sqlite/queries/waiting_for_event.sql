select *
from milepost_task indexed by milepost_task_awaiting
where awaited_event = ? and awaited_key = ? and awaited_event is not null and state = 'suspended'
order by id
