select id, fence, token, coalesce(cancel_reason, '')
from {schema}.milepost_task
where executor = $1 and cancel_requested_at is not null
order by id
