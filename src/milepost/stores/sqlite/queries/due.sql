select due_at, number
from milepost_task indexed by milepost_task_due
where queue = ? and name = ? and version = ? and priority = ? and due_at <= ?
order by due_at, number
limit ?
