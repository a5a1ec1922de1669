-- What ties tasks to each other, to schedules and to events. No row is rewritten: new columns are null or constant.

-- parent, parent_position: the task whose result enqueued this one, and at which place: epoch.sequence.ordinal.
-- schedule, schedule_at: which schedule enqueued it, for which of its instants. ties: what its end must see to, as a sum
-- of bits (lifecycle.ties.Tie); join_mode: how it takes the ends of its children. awaited_event, awaited_key,
-- received_json: the event that it waits for, or has waited for, and what came with it.
alter table {schema}.milepost_task
  add column parent text collate "C",
  add column parent_position text collate "C",
  add column schedule text collate "C",
  add column schedule_at timestamptz,
  add column ties integer not null default 0,
  add column join_mode text collate "C",
  add column awaited_event text collate "C",
  add column awaited_key text collate "C",
  add column received_json json;

create unique index milepost_task_parent on {schema}.milepost_task (parent, parent_position) where parent is not null;

create unique index milepost_task_schedule on {schema}.milepost_task (schedule, schedule_at)
where schedule is not null and schedule_at is not null;

-- What a schedule has enqueued, by age, whether for an instant or because somebody triggered it.
create index milepost_task_scheduled on {schema}.milepost_task (schedule, id) where schedule is not null;

create index milepost_task_awaiting on {schema}.milepost_task (awaited_event, awaited_key)
where awaited_event is not null and state = 'suspended';

-- Whom a task has waited for last, in order, and what became of them; a null state is not final yet.
create table {schema}.milepost_child (
  parent text collate "C" not null,
  ordinal integer not null,
  task text collate "C" not null,
  name text collate "C" not null,
  version integer not null,
  state text collate "C",
  result_json json,
  error_json json,
  crash json,
  primary key (parent, ordinal)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

create index milepost_child_task on {schema}.milepost_child (task);

-- With the ordinal: the last of many children has mostly not ended yet, and is found past none that has.
create index milepost_child_unfinished on {schema}.milepost_child (parent, ordinal) where state is null;

-- What fires again and again. due_at is when an executor must look at it next.
create table {schema}.milepost_schedule (
  key text collate "C" primary key,
  revision integer not null,
  name text collate "C" not null,
  terms_json json not null,
  request_json json not null,
  counted_from timestamptz not null,
  handled_until timestamptz not null,
  next_at timestamptz,
  first_at timestamptz,
  queued_at timestamptz,
  paused_at timestamptz,
  runs integer not null,
  skipped integer not null,
  latest_task text collate "C",
  due_at timestamptz,
  errors integer not null,
  error text collate "C" not null
);

create index milepost_schedule_due on {schema}.milepost_schedule (due_at) where due_at is not null;

-- Named events that were sent: those that nobody has waited for yet, and for a while those that were delivered.
create table {schema}.milepost_event (
  number bigint generated always as identity primary key,
  name text collate "C" not null,
  key text collate "C" not null,
  id text collate "C" not null,
  payload_json json not null,
  sent_at timestamptz not null,
  keep_until timestamptz not null,
  delivered_at timestamptz
);

create unique index milepost_event_id on {schema}.milepost_event (name, key, id);

create index milepost_event_early on {schema}.milepost_event (name, key, number) where delivered_at is null;

create index milepost_event_age on {schema}.milepost_event (keep_until);
