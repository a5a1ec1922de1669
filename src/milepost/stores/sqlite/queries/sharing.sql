-- How many tasks run with each concurrency key.
select wanted.name, wanted.key,
  (
    select count(*) from milepost_task indexed by milepost_task_sharing
    where name = wanted.name and concurrency_key = wanted.key and executor is not null
  )
from (select json_extract(value, '$[0]') as name, json_extract(value, '$[1]') as key from json_each(?)) as wanted
