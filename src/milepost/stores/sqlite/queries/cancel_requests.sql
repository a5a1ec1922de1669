select id, fence, token, coalesce(cancel_reason, '')
from milepost_task indexed by milepost_task_cancelling
where executor = ? and cancel_requested_at is not null
order by id
