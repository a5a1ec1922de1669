select 1 from {schema}.milepost_event where name = $1 and key = $2 and id = $3 and keep_until >= $4
