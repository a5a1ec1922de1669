-- What a transition may change, if the row is still what the decision was made on, and its line of history.
-- Rows come in the order of their ids, which is the order in which all of milepost locks rows. Null execution metadata
-- is what did not change; progress stays unless it is reset, for what was reported meanwhile is newer.
with
  wanted as (
    select *
    from unnest(
      $1::text[], $2::int[], $3::text[], $4::int[], $5::int[], $6::text[],
      $7::int[], $8::text[], $9::text[], $10::int[], $11::int[], $12::int[], $13::int[], $14::int[], $15::int[],
      $16::text[], $17::json[], $18::json[], $19::json[], $20::text[], $21::timestamptz[], $22::timestamptz[],
      $23::timestamptz[], $24::timestamptz[], $25::timestamptz[], $26::json[], $27::boolean[],
      $28::double precision[], $29::text[],
      $30::timestamptz[], $31::timestamptz[], $32::text[], $33::timestamptz[],
      $34::timestamptz[], $35::text[], $36::int[], $37::text[], $38::text[], $39::text[]
    ) with ordinality
    as row (
      id, old_fence, old_token, old_sequence, old_revision, old_state,
      fence, token, executor, revision, sequence, epoch, failures, stalls, interruptions,
      cancel_reason, execution_metadata_json, result_json, error_json, state, due_at, started_at,
      finished_at, deadline_at, cancel_requested_at, crash, is_reset,
      progress, progress_note,
      early_proceed_at, start_by, limited_by, slot_at,
      at, kind, attempt, owner, reason, actor, ord
    )
  ),
  written as (
    update {schema}.milepost_task as task
    set fence = wanted.fence, token = wanted.token, executor = wanted.executor, revision = wanted.revision,
      sequence = wanted.sequence, epoch = wanted.epoch, failures = wanted.failures, stalls = wanted.stalls,
      interruptions = wanted.interruptions, cancel_reason = wanted.cancel_reason,
      execution_metadata_json = coalesce(wanted.execution_metadata_json, task.execution_metadata_json),
      result_json = wanted.result_json, error_json = wanted.error_json, state = wanted.state, due_at = wanted.due_at,
      started_at = wanted.started_at, finished_at = wanted.finished_at, deadline_at = wanted.deadline_at,
      cancel_requested_at = wanted.cancel_requested_at, crash = wanted.crash,
      early_proceed_at = wanted.early_proceed_at, start_by = wanted.start_by, limited_by = wanted.limited_by,
      slot_at = wanted.slot_at,
      progress = case when wanted.is_reset then wanted.progress else task.progress end,
      progress_note = case when wanted.is_reset then wanted.progress_note else task.progress_note end
    from wanted
    where task.id = wanted.id and task.fence = wanted.old_fence and task.token is not distinct from wanted.old_token
      and task.sequence = wanted.old_sequence and task.revision = wanted.old_revision and task.state = wanted.old_state
    returning wanted.ord, task.number, task.revision, task.state, wanted.at, wanted.kind, wanted.attempt,
      wanted.owner, wanted.reason, wanted.actor
  ),
  told as (
    insert into {schema}.milepost_history (task, at, revision, ordinal, attempt, kind, state, executor, reason, actor)
    select number, at, revision, 0, attempt, kind, state, owner, reason, actor
    from written
    where kind is not null
  )
select ord from written
