-- What has ended already is put with its end.
insert into {schema}.milepost_child (parent, ordinal, task, name, version, state, result_json, error_json, crash)
select $1, wanted.ordinal - 1, task.id, task.name, task.version, task.state, task.result_json, task.error_json,
  task.crash
from unnest($2::text[]) with ordinality as wanted (id, ordinal)
cross join lateral (
  select task.id, task.name, task.version,
    case when task.finished_at is not null then task.state end as state,
    case when task.finished_at is not null then task.result_json end as result_json,
    case when task.finished_at is not null then task.error_json end as error_json,
    case when task.finished_at is not null then task.crash end as crash
  from {schema}.milepost_task as task
  where task.id = wanted.id
  limit 1
) as task
