delete from milepost_schedule where key in (select value from json_each(?)) returning key
