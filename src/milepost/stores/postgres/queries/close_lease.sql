delete from {schema}.milepost_lease where executor = $1
