select name from milepost_queue where capacity is not null
