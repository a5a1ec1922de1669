select task.id from {schema}.milepost_task as task where task.id = any ($1::text[])
