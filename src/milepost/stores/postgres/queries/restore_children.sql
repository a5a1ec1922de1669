insert into {schema}.milepost_child (parent, ordinal, task, name, version, state, result_json, error_json, crash)
select *
from unnest(
  $1::text[], $2::int[], $3::text[], $4::text[], $5::int[], $6::text[], $7::json[], $8::json[], $9::json[]
)
