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

create index milepost_task_parked on {schema}.milepost_task (name, concurrency_key, priority desc, number)
where limited_by = 'concurrency' and due_at is not null;

-- Which starts of a rate are given away.
create index milepost_task_slots on {schema}.milepost_task (name, rate_key, slot_at)
where limited_by = 'rate' and slot_at is not null and due_at is not null;

-- How many of what an executor starts, as it told with its lease.
alter table {schema}.milepost_lease add column terms json not null default '{}';

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

-- Until when each key's rate is used up. A key without a row has used nothing.
create table {schema}.milepost_rate (
  name text collate "C" not null,
  key text collate "C" not null,
  used_until timestamptz not null,
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

-- In the order in which they are read; lines that are there already are not added again.
create unique index milepost_log_line on {schema}.milepost_log (task, fence, ordinal);

-- For those that are old enough to go.
create index milepost_log_age on {schema}.milepost_log (at);

-- Who asked for a change, as they called themselves.
alter table {schema}.milepost_history add column actor text collate "C";
