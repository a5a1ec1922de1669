delete from {schema}.milepost_schedule where key = any ($1::text[]) returning key
