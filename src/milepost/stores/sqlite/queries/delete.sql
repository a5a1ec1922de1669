delete from milepost_task
where id in (select value from json_each(?)) and executor is null
returning id
