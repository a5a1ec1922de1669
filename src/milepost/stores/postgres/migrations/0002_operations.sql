-- What operators and policies ask of live tasks. No row is rewritten: new columns are null.

-- early_proceed_at: a proceed that came before the task suspended, and when it lets the next suspension go on.
-- start_by: a task that has not started by then ends instead. rate_key, concurrency_key: whose share of its
-- definition's limits a task takes; limited_by, slot_at: what put it back last, and which start it was given.
alter table {schema}.milepost_task
  add column early_proceed_at timestamptz,
  add column start_by timestamptz,
  add column rate_key text collate "C",
  add column concurrency_key text collate "C",
  add column limited_by text collate "C",
  add column slot_at timestamptz,
  add constraint milepost_task_limited_known check (limited_by = any (array['rate', 'concurrency']));

-- Who takes a share of a concurrency limit, and who waits for one.
create index milepost_task_sharing on {schema}.milepost_task (name, concurrency_key)
where concurrency_key is not null and executor is not null;

create index milepost_task_parked on {schema}.milepost_task (name, concurrency_key, priority, number)
where limited_by = 'concurrency' and due_at is not null;

-- Queues that somebody has paused, weighed or bounded.
create table {schema}.milepost_queue (
  name text collate "C" primary key,
  paused_at timestamptz,
  paused_reason text collate "C" not null,
  weight integer not null,
  concurrency integer,
  capacity integer,
  when_full text collate "C" not null,
  spill_to text collate "C"
);

-- How much of a rate each key has used up. A key without a row has used nothing.
create table {schema}.milepost_rate (
  name text collate "C" not null,
  key text collate "C" not null,
  used_until timestamptz not null,
  next_slot timestamptz not null,
  primary key (name, key)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- What runs have logged. Lines of one run have its fence and count from 0.
create table {schema}.milepost_log (
  task bigint not null,
  at timestamptz not null,
  fence integer not null,
  ordinal integer not null,
  level integer not null,
  logger text collate "C" not null,
  message text collate "C" not null
) with (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_scale_factor = 0.05);

create index milepost_log_task on {schema}.milepost_log (task);
