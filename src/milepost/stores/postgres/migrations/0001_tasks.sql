-- Every task, in order of arrival (number). Texts compare byte by byte ("C"), as Python's do, whatever the database's
-- locale is. Payloads are json and not jsonb, which would rewrite their numbers: they must come back exactly.
create table {schema}.milepost_task (
  number bigint generated always as identity,
  created_at timestamptz not null,
  due_at timestamptz,
  started_at timestamptz,
  finished_at timestamptz,
  deadline_at timestamptz,
  cancel_requested_at timestamptz,
  deadline_seconds double precision,
  progress double precision,
  version integer not null,
  priority integer not null,
  fence integer not null default 0,
  revision integer not null default 0,
  sequence integer not null default 0,
  epoch integer not null default 1,
  failures integer not null default 0,
  stalls integer not null default 0,
  interruptions integer not null default 0,
  id text collate "C" not null,
  name text collate "C" not null,
  queue text collate "C" not null,
  key text collate "C",
  correlation text collate "C",
  audit text collate "C" not null,
  state text collate "C" not null default 'pending',
  token text collate "C",
  executor text collate "C",
  cancel_reason text collate "C",
  progress_note text collate "C" not null default '',
  metadata_json json not null,
  execution_metadata_json json not null,
  initial_execution_metadata_json json not null,
  result_json json,
  error_json json,
  crash json,
  constraint milepost_task_id primary key (id),
  constraint milepost_task_audit_known check (audit in ('transitions', 'full', 'errors', 'none')),
  constraint milepost_task_state_known check (
    state in (
      'pending', 'running', 'completed', 'suspended', 'retrying', 'interrupted', 'failed', 'cancelled', 'quarantined'
    )
  ),
  constraint milepost_task_owned check ((state = 'running') = (executor is not null)),
  constraint milepost_task_ended check ((state in ('completed', 'failed', 'cancelled')) = (finished_at is not null))
) with (
  -- Room on each page for the row as it is after its claim, so that most changes stay on the page of their row, where
  -- the versions before them are removed without a vacuum.
  fillfactor = 80,
  -- A claim walks past what earlier claims left behind in the index of due tasks. Many small vacuums keep that short;
  -- the default, a fifth of all rows, would wait for ever on a table that keeps its finished tasks.
  autovacuum_vacuum_scale_factor = 0.005,
  autovacuum_vacuum_threshold = 5000,
  -- Plans depend on how much waits and how much has ended, which changes quickly in a young table.
  autovacuum_analyze_scale_factor = 0.02,
  autovacuum_analyze_threshold = 2000,
  -- Finished rows that are never touched again shall be frozen in passing, not all at once a year later.
  autovacuum_vacuum_insert_scale_factor = 0.05,
  -- A vacuum that rests as often as by default is overtaken by a busy queue.
  autovacuum_vacuum_cost_delay = 1
);

-- Who may be claimed: due_at is set exactly while a task waits for a time.
create index milepost_task_due on {schema}.milepost_task (queue, name, version, priority, due_at, number)
where due_at is not null;

-- Who runs what, for held and for the claims of an executor that is gone.
create index milepost_task_running on {schema}.milepost_task (executor, queue, name, version)
where executor is not null;

create index milepost_task_cancelling on {schema}.milepost_task (executor)
where executor is not null and cancel_requested_at is not null;

-- A live task holds its key.
create unique index milepost_task_key on {schema}.milepost_task (name, key)
where key is not null and finished_at is null;

create index milepost_task_correlation on {schema}.milepost_task (correlation, id) where correlation is not null;

-- Listings by state. The states of the hot path stay out, so that it never pays for this index.
create index milepost_task_state on {schema}.milepost_task (state, id)
where state <> 'pending' and state <> 'running' and state <> 'completed';

-- Lines are only added, and removed with their task, which they name by its number: short, and in order of arrival.
create table {schema}.milepost_history (
  task bigint not null,
  at timestamptz not null,
  revision integer not null,
  ordinal integer not null,
  attempt integer not null,
  kind text collate "C" not null,
  state text collate "C" not null,
  executor text collate "C",
  reason text collate "C" not null
) with (
  -- Nothing of a line ever changes: freeze lines soon after they were written.
  autovacuum_vacuum_insert_scale_factor = 0.05,
  autovacuum_vacuum_scale_factor = 0.05
);

create index milepost_history_task on {schema}.milepost_history (task);

create table {schema}.milepost_lease (
  executor text collate "C" primary key,
  host text collate "C" not null,
  pid bigint not null,
  started_at timestamptz not null,
  renewed_at timestamptz not null,
  lease_until timestamptz not null,
  slots integer not null,
  running integer not null,
  tasks json not null,
  queues text[] collate "C"
) with (
  -- A few rows, renewed every few seconds: room to do it in place, and vacuums that cost nothing.
  fillfactor = 50,
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 200
);
