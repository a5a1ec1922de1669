select count(*) from {schema}.milepost_task where executor is not null and queue = $1
