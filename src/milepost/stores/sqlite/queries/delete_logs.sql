delete from milepost_log where task in (select value from json_each(?))
