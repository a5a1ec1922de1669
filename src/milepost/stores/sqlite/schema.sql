-- What the migrations make of an empty file. Committed to be read and compared, never executed.

CREATE TABLE milepost_child (
  parent text not null,
  ordinal integer not null,
  task text not null,
  name text not null,
  version integer not null,
  state text,
  result_json text,
  error_json text,
  crash text,
  primary key (parent, ordinal)
) strict, without rowid;

CREATE TABLE milepost_clock (
  only integer primary key check (only = 1),
  newest integer not null,
  commits integer not null
) strict;

CREATE TABLE milepost_event (
  number integer primary key,
  name text not null,
  key text not null,
  id text not null,
  payload_json text not null,
  sent_at integer not null,
  keep_until integer not null,
  delivered_at integer
) strict;

CREATE TABLE milepost_history (
  task text not null,
  revision integer not null,
  ordinal integer not null,
  at integer not null,
  kind text not null,
  state text not null,
  attempt integer not null,
  executor text,
  reason text not null, actor text,
  primary key (task, revision, ordinal)
) strict, without rowid;

CREATE TABLE milepost_lease (
  executor text primary key,
  host text not null,
  pid integer not null,
  started_at integer not null,
  renewed_at integer not null,
  lease_until integer not null,
  slots integer not null,
  running integer not null,
  tasks_json text not null,
  queues_json text
, terms_json text not null default '{}') strict, without rowid;

CREATE TABLE milepost_log (
  task text not null,
  fence integer not null,
  ordinal integer not null,
  at integer not null,
  level integer not null,
  logger text not null,
  message text not null,
  primary key (task, fence, ordinal)
) strict, without rowid;

CREATE TABLE milepost_queue (
  name text primary key,
  paused_at integer,
  paused_reason text not null,
  weight integer not null,
  concurrency integer,
  capacity integer,
  when_full text not null,
  spill_to text
) strict, without rowid;

CREATE TABLE milepost_rate (
  name text not null,
  key text not null,
  used_until integer not null,
  primary key (name, key)
) strict, without rowid;

CREATE TABLE milepost_schedule (
  key text primary key,
  revision integer not null,
  name text not null,
  terms_json text not null,
  request_json text not null,
  counted_from integer not null,
  handled_until integer not null,
  next_at integer,
  first_at integer,
  queued_at integer,
  paused_at integer,
  runs integer not null,
  skipped integer not null,
  latest_task text,
  due_at integer,
  errors integer not null,
  error text not null
) strict, without rowid;

CREATE TABLE milepost_schema (
  version integer primary key,
  applied_at integer not null
) strict;

CREATE TABLE milepost_task (
  number integer primary key,
  id text not null unique,
  name text not null,
  version integer not null,
  queue text not null,
  priority integer not null,
  key text,
  correlation text,
  audit text not null check (audit = 'transitions' or audit = 'full' or audit = 'errors' or audit = 'none'),
  state text not null check (
    state = 'pending' or state = 'running' or state = 'completed' or state = 'suspended' or state = 'retrying'
    or state = 'interrupted' or state = 'failed' or state = 'cancelled' or state = 'quarantined'
  ),
  due_at integer,
  fence integer not null,
  token text,
  executor text,
  revision integer not null,
  sequence integer not null,
  epoch integer not null,
  failures integer not null,
  stalls integer not null,
  interruptions integer not null,
  created_at integer not null,
  started_at integer,
  finished_at integer,
  deadline_seconds real,
  deadline_at integer,
  cancel_requested_at integer,
  cancel_reason text,
  progress real,
  progress_note text not null,
  metadata_json text not null,
  execution_metadata_json text not null,
  initial_execution_metadata_json text not null,
  result_json text,
  error_json text,
  crash text, early_proceed_at integer, start_by integer, rate_key text, concurrency_key text, limited_by text check (limited_by = 'rate' or limited_by = 'concurrency'), slot_at integer, parent text, parent_position text, schedule text, schedule_at integer, ties integer not null default 0, join_mode text, awaited_event text, awaited_key text, received_json text,
  check ((state = 'running') = (executor is not null)),
  check ((state = 'completed' or state = 'failed' or state = 'cancelled') = (finished_at is not null))
) strict;

CREATE INDEX milepost_child_task on milepost_child (task);

CREATE INDEX milepost_child_unfinished on milepost_child (parent, ordinal) where state is null;

CREATE INDEX milepost_event_age on milepost_event (keep_until);

CREATE INDEX milepost_event_early on milepost_event (name, key, number) where delivered_at is null;

CREATE UNIQUE INDEX milepost_event_id on milepost_event (name, key, id);

CREATE INDEX milepost_log_age on milepost_log (at);

CREATE INDEX milepost_rate_idle on milepost_rate (used_until);

CREATE INDEX milepost_schedule_due on milepost_schedule (due_at) where due_at is not null;

CREATE INDEX milepost_task_awaiting on milepost_task (awaited_event, awaited_key)
where awaited_event is not null and state = 'suspended';

CREATE INDEX milepost_task_cancelling on milepost_task (executor)
where executor is not null and cancel_requested_at is not null;

CREATE INDEX milepost_task_correlation on milepost_task (correlation, id) where correlation is not null;

CREATE INDEX milepost_task_due on milepost_task (queue, name, version, priority, due_at) where due_at is not null;

CREATE UNIQUE INDEX milepost_task_key on milepost_task (name, key) where key is not null and finished_at is null;

CREATE UNIQUE INDEX milepost_task_parent on milepost_task (parent, parent_position) where parent is not null;

CREATE INDEX milepost_task_parked on milepost_task (name, concurrency_key, priority desc)
where limited_by = 'concurrency' and due_at is not null;

CREATE INDEX milepost_task_running on milepost_task (executor, queue, name, version) where executor is not null;

CREATE UNIQUE INDEX milepost_task_schedule on milepost_task (schedule, schedule_at)
where schedule is not null and schedule_at is not null;

CREATE INDEX milepost_task_scheduled on milepost_task (schedule, id) where schedule is not null;

CREATE INDEX milepost_task_sharing on milepost_task (name, concurrency_key)
where concurrency_key is not null and executor is not null;

CREATE INDEX milepost_task_slots on milepost_task (name, rate_key, slot_at)
where limited_by = 'rate' and slot_at is not null and due_at is not null;

CREATE INDEX milepost_task_state on milepost_task (state, id)
where state <> 'pending' and state <> 'running' and state <> 'completed';
