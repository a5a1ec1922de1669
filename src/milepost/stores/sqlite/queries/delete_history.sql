delete from milepost_history where task in (select value from json_each(?))
