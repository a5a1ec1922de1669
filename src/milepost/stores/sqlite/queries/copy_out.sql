select * from milepost_task where number > ? order by number limit ?
