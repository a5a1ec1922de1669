delete from milepost_child where parent in (select value from json_each(?))
