delete from milepost_queue where name = ?
