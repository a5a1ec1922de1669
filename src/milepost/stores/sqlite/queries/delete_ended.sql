delete from milepost_task where id = ? and revision = ? and finished_at is not null
