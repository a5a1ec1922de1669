select min(due_at) from milepost_schedule indexed by milepost_schedule_due where due_at is not null
