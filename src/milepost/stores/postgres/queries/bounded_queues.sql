select 1 from {schema}.milepost_queue where capacity is not null and name = any ($1::text[]) limit 1
