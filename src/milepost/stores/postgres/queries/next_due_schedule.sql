select min(due_at) from {schema}.milepost_schedule where due_at is not null
