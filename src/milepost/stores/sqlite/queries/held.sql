select id, fence, token, cancel_reason
from milepost_task indexed by milepost_task_running
where executor = ?
order by id
