-- What ties tasks to each other, to schedules and to events.

-- parent, parent_position: the task whose result enqueued this one, and at which place: epoch.sequence.ordinal.
alter table milepost_task add column parent text;
alter table milepost_task add column parent_position text;

-- Which schedule enqueued it, for which of its instants.
alter table milepost_task add column schedule text;
alter table milepost_task add column schedule_at integer;

-- What its end must see to, as a sum of bits (lifecycle.ties.Tie), and how it takes the ends of its children.
alter table milepost_task add column ties integer not null default 0;
alter table milepost_task add column join_mode text;

-- The event that it waits for, or has waited for, and what came with it.
alter table milepost_task add column awaited_event text;
alter table milepost_task add column awaited_key text;
alter table milepost_task add column received_json text;

create unique index milepost_task_parent on milepost_task (parent, parent_position) where parent is not null;

create unique index milepost_task_schedule on milepost_task (schedule, schedule_at)
where schedule is not null and schedule_at is not null;

-- What a schedule has enqueued, by age, whether for an instant or because somebody triggered it.
create index milepost_task_scheduled on milepost_task (schedule, id) where schedule is not null;

create index milepost_task_awaiting on milepost_task (awaited_event, awaited_key)
where awaited_event is not null and state = 'suspended';

-- Whom a task has waited for last, in order, and what became of them; a null state is not final yet.
create table milepost_child (
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

create index milepost_child_task on milepost_child (task);

-- With the ordinal: the last of many children has mostly not ended yet, and is found past none that has.
create index milepost_child_unfinished on milepost_child (parent, ordinal) where state is null;

-- What fires again and again. due_at is when an executor must look at it next.
create table milepost_schedule (
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

create index milepost_schedule_due on milepost_schedule (due_at) where due_at is not null;

-- Named events that were sent: those that nobody has waited for yet, and for a while those that were delivered.
create table milepost_event (
  number integer primary key,
  name text not null,
  key text not null,
  id text not null,
  payload_json text not null,
  sent_at integer not null,
  keep_until integer not null,
  delivered_at integer
) strict;

create unique index milepost_event_id on milepost_event (name, key, id);

create index milepost_event_early on milepost_event (name, key, number) where delivered_at is null;

create index milepost_event_age on milepost_event (keep_until);
