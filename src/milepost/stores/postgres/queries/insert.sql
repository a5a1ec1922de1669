-- New tasks; with $19 none of them, and a row in answer, if one of their queues has a capacity.
with
  bounded as materialized (
    select from {schema}.milepost_queue where $19::boolean and capacity is not null and name = any ($4::text[]) limit 1
  ),
  inserted as (
    insert into {schema}.milepost_task (
      id, name, version, queue, priority, key, correlation, audit, due_at, created_at, deadline_seconds, deadline_at,
      metadata_json, execution_metadata_json, initial_execution_metadata_json, start_by, rate_key, concurrency_key
    )
    select *
    from unnest(
      $1::text[], $2::text[], $3::int[], $4::text[], $5::int[], $6::text[], $7::text[], $8::text[], $9::timestamptz[],
      $10::timestamptz[], $11::double precision[], $12::timestamptz[], $13::json[], $14::json[], $15::json[],
      $16::timestamptz[], $17::text[], $18::text[]
    )
    where not exists (select from bounded)
  )
select 1 from bounded
