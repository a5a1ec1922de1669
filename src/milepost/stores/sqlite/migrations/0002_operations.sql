-- What operators and policies ask of live tasks.

-- A proceed that came before the task suspended: when it lets the next suspension go on.
alter table milepost_task add column early_proceed_at integer;

-- A task that has not started by then ends instead.
alter table milepost_task add column start_by integer;

-- Whose share of its definition's limits a task takes; what put it back last, and which start it was given.
alter table milepost_task add column rate_key text;
alter table milepost_task add column concurrency_key text;
alter table milepost_task add column limited_by text check (limited_by = 'rate' or limited_by = 'concurrency');
alter table milepost_task add column slot_at integer;

-- Who takes a share of a concurrency limit, and who waits for one.
create index milepost_task_sharing on milepost_task (name, concurrency_key)
where concurrency_key is not null and executor is not null;

create index milepost_task_parked on milepost_task (name, concurrency_key, priority desc)
where limited_by = 'concurrency' and due_at is not null;

-- Which starts of a rate are given away.
create index milepost_task_slots on milepost_task (name, rate_key, slot_at)
where limited_by = 'rate' and slot_at is not null and due_at is not null;

-- How many of what an executor starts, as it told with its lease.
alter table milepost_lease add column terms_json text not null default '{}';

-- Queues that somebody has paused, weighed or bounded.
create table milepost_queue (
  name text primary key,
  paused_at integer,
  paused_reason text not null,
  weight integer not null,
  concurrency integer,
  capacity integer,
  when_full text not null,
  spill_to text
) strict, without rowid;

-- Until when each key's rate is used up. A key without a row has used nothing.
create table milepost_rate (
  name text not null,
  key text not null,
  used_until integer not null,
  primary key (name, key)
) strict, without rowid;

create index milepost_rate_idle on milepost_rate (used_until);

-- What runs have logged. Lines of one run have its fence and count from 0.
create table milepost_log (
  task text not null,
  fence integer not null,
  ordinal integer not null,
  at integer not null,
  level integer not null,
  logger text not null,
  message text not null,
  primary key (task, fence, ordinal)
) strict, without rowid;

-- For those that are old enough to go.
create index milepost_log_age on milepost_log (at);

-- Who asked for a change, as they called themselves.
alter table milepost_history add column actor text;
