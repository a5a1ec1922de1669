-- The lowest bit of `ties` says that somebody waits for the end.
delete from milepost_task
where id in (select value from json_each(?)) and executor is null and (not ties & 1 or finished_at is not null)
returning id
