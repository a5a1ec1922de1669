-- What is used of each rate, and the last slot that a task holds which waits for its start.
select wanted.name, wanted.key,
  (select used_until from milepost_rate where name = wanted.name and key = wanted.key),
  (
    select slot_at from milepost_task indexed by milepost_task_slots
    where name = wanted.name and rate_key = wanted.key and limited_by = 'rate' and slot_at is not null
      and due_at is not null
    order by slot_at desc limit 1
  )
from (select json_extract(value, '$[0]') as name, json_extract(value, '$[1]') as key from json_each(?)) as wanted
