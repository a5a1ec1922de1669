-- What ends a run, if the row is still what the decision was made on. Of the rest of the row nothing changes.
-- Rows come in the order of their ids, which is the order in which all of milepost locks rows.
with
  wanted as (
    select *
    from unnest(
      $1::text[], $2::int[], $3::text[], $4::int[], $5::int[], $6::text[], $7::json[], $8::json[], $9::json[],
      $10::text[], $11::text[]
    ) with ordinality
    as row (id, fence, token, sequence, revision, state, result_json, error_json, crash, kind, reason, ord)
  ),
  written as (
    update {schema}.milepost_task as task
    set state = wanted.state, revision = wanted.revision + 1, due_at = null, executor = null, stalls = 0,
      finished_at = $12, result_json = wanted.result_json, error_json = wanted.error_json, crash = wanted.crash
    from wanted
    where task.id = wanted.id and task.fence = wanted.fence and task.token = wanted.token
      and task.sequence = wanted.sequence and task.revision = wanted.revision and task.state = 'running'
    returning wanted.ord, task.number, task.revision, task.failures, wanted.kind, task.state, wanted.reason
  ),
  told as (
    insert into {schema}.milepost_history (task, at, revision, ordinal, attempt, kind, state, executor, reason)
    select number, $12, revision, 0, failures + 1, kind, state, $13, coalesce(reason, '')
    from written
    where kind is not null
  )
select ord from written
