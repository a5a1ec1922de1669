-- The concurrency key after a given one that anybody waits for.
select name, concurrency_key
from milepost_task indexed by milepost_task_parked
where limited_by = 'concurrency' and due_at is not null and concurrency_key is not null
  and (name, concurrency_key) > (?, ?)
order by name, concurrency_key
limit 1
