delete from {schema}.milepost_queue where name = $1
