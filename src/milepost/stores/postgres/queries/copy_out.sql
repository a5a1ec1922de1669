select {record}, task.number from {schema}.milepost_task as task where task.number > $1 order by task.number limit $2::bigint
