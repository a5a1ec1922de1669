select 1 from milepost_event where name = ? and key = ? and id = ? and keep_until >= ?
