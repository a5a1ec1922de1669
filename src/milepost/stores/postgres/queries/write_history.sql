-- Lines that are not written along with their row.
insert into {schema}.milepost_history (task, revision, ordinal, at, kind, state, attempt, executor, reason, actor)
select task.number, line.revision, line.ordinal, line.at, line.kind, line.state, line.attempt, line.executor,
  line.reason, line.actor
from unnest(
  $1::text[], $2::int[], $3::int[], $4::timestamptz[], $5::text[], $6::text[], $7::int[], $8::text[], $9::text[],
  $10::text[]
) as line (id, revision, ordinal, at, kind, state, attempt, executor, reason, actor)
cross join lateral (
  select task.number from {schema}.milepost_task as task where task.id = line.id limit 1
) as task
