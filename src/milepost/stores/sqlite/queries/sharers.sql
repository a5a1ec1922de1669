-- A few of those that run with a concurrency key.
select id, executor from milepost_task indexed by milepost_task_sharing
where name = ? and concurrency_key = ? and executor is not null
order by id
limit ?
