insert into {schema}.milepost_rate (name, key, used_until)
select * from unnest($1::text[], $2::text[], $3::timestamptz[])
on conflict (name, key) do update set used_until = excluded.used_until
