-- The head of the line for one concurrency key: those in it who are not due, of which the index has the order.
select *
from milepost_task indexed by milepost_task_parked
where name = ? and concurrency_key = ? and limited_by = 'concurrency' and due_at is not null and due_at > ?
order by priority desc, number
limit ?
