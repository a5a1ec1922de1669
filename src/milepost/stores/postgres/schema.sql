-- What the migrations make of an empty schema. Committed to be read and compared, never executed.

create table milepost_child (
  parent text collate "C" not null,
  ordinal integer not null,
  task text collate "C" not null,
  name text collate "C" not null,
  version integer not null,
  state text collate "C",
  result_json json,
  error_json json,
  crash json,
  constraint milepost_child_pkey PRIMARY KEY (parent, ordinal)
) with (fillfactor=70, autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=1000);

CREATE INDEX milepost_child_task ON milepost_child USING btree (task);

CREATE INDEX milepost_child_unfinished ON milepost_child USING btree (parent, ordinal) WHERE (state IS NULL);

create table milepost_event (
  number bigint not null generated always as identity,
  name text collate "C" not null,
  key text collate "C" not null,
  id text collate "C" not null,
  payload_json json not null,
  sent_at timestamp with time zone not null,
  keep_until timestamp with time zone not null,
  delivered_at timestamp with time zone,
  constraint milepost_event_pkey PRIMARY KEY (number)
);

CREATE INDEX milepost_event_age ON milepost_event USING btree (keep_until);

CREATE INDEX milepost_event_early ON milepost_event USING btree (name, key, number) WHERE (delivered_at IS NULL);

CREATE UNIQUE INDEX milepost_event_id ON milepost_event USING btree (name, key, id);

create table milepost_history (
  task bigint not null,
  at timestamp with time zone not null,
  revision integer not null,
  ordinal integer not null,
  attempt integer not null,
  kind text collate "C" not null,
  state text collate "C" not null,
  executor text collate "C",
  reason text collate "C" not null,
  actor text collate "C"
) with (autovacuum_vacuum_insert_scale_factor=0.05, autovacuum_vacuum_scale_factor=0.05);

CREATE INDEX milepost_history_task ON milepost_history USING btree (task);

create table milepost_lease (
  executor text collate "C" not null,
  host text collate "C" not null,
  pid bigint not null,
  started_at timestamp with time zone not null,
  renewed_at timestamp with time zone not null,
  lease_until timestamp with time zone not null,
  slots integer not null,
  running integer not null,
  tasks json not null,
  queues text[] collate "C",
  terms json not null default '{}'::json,
  constraint milepost_lease_pkey PRIMARY KEY (executor)
) with (fillfactor=50, autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=200);

create table milepost_log (
  task bigint not null,
  at timestamp with time zone not null,
  fence integer not null,
  ordinal integer not null,
  level integer not null,
  logger text collate "C" not null,
  message text collate "C" not null
) with (autovacuum_vacuum_insert_scale_factor=0.05, autovacuum_vacuum_scale_factor=0.05);

CREATE INDEX milepost_log_age ON milepost_log USING btree (at);

CREATE UNIQUE INDEX milepost_log_line ON milepost_log USING btree (task, fence, ordinal);

create table milepost_queue (
  name text collate "C" not null,
  paused_at timestamp with time zone,
  paused_reason text collate "C" not null,
  weight integer not null,
  concurrency integer,
  capacity integer,
  when_full text collate "C" not null,
  spill_to text collate "C",
  constraint milepost_queue_pkey PRIMARY KEY (name)
);

create table milepost_rate (
  name text collate "C" not null,
  key text collate "C" not null,
  used_until timestamp with time zone not null,
  constraint milepost_rate_pkey PRIMARY KEY (name, key)
) with (fillfactor=50, autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=1000);

create table milepost_schedule (
  key text collate "C" not null,
  revision integer not null,
  name text collate "C" not null,
  terms_json json not null,
  request_json json not null,
  counted_from timestamp with time zone not null,
  handled_until timestamp with time zone not null,
  next_at timestamp with time zone,
  first_at timestamp with time zone,
  queued_at timestamp with time zone,
  paused_at timestamp with time zone,
  runs integer not null,
  skipped integer not null,
  latest_task text collate "C",
  due_at timestamp with time zone,
  errors integer not null,
  error text collate "C" not null,
  constraint milepost_schedule_pkey PRIMARY KEY (key)
);

CREATE INDEX milepost_schedule_due ON milepost_schedule USING btree (due_at) WHERE (due_at IS NOT NULL);

create table milepost_schema (
  version integer not null,
  applied_at timestamp with time zone not null default clock_timestamp(),
  constraint milepost_schema_pkey PRIMARY KEY (version)
);

create table milepost_task (
  number bigint not null generated always as identity,
  created_at timestamp with time zone not null,
  due_at timestamp with time zone,
  started_at timestamp with time zone,
  finished_at timestamp with time zone,
  deadline_at timestamp with time zone,
  cancel_requested_at timestamp with time zone,
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
  state text collate "C" not null default 'pending'::text,
  token text collate "C",
  executor text collate "C",
  cancel_reason text collate "C",
  progress_note text collate "C" not null default ''::text,
  metadata_json json not null,
  execution_metadata_json json not null,
  initial_execution_metadata_json json not null,
  result_json json,
  error_json json,
  crash json,
  early_proceed_at timestamp with time zone,
  start_by timestamp with time zone,
  rate_key text collate "C",
  concurrency_key text collate "C",
  limited_by text collate "C",
  slot_at timestamp with time zone,
  parent text collate "C",
  parent_position text collate "C",
  schedule text collate "C",
  schedule_at timestamp with time zone,
  ties integer not null default 0,
  join_mode text collate "C",
  awaited_event text collate "C",
  awaited_key text collate "C",
  received_json json,
  constraint milepost_task_audit_known CHECK ((audit = ANY (ARRAY['transitions'::text, 'full'::text, 'errors'::text, 'none'::text]))),
  constraint milepost_task_ended CHECK (((state = ANY (ARRAY['completed'::text, 'failed'::text, 'cancelled'::text])) = (finished_at IS NOT NULL))),
  constraint milepost_task_id PRIMARY KEY (id),
  constraint milepost_task_limited_known CHECK ((limited_by = ANY (ARRAY['rate'::text, 'concurrency'::text]))),
  constraint milepost_task_owned CHECK (((state = 'running'::text) = (executor IS NOT NULL))),
  constraint milepost_task_state_known CHECK ((state = ANY (ARRAY['pending'::text, 'running'::text, 'completed'::text, 'suspended'::text, 'retrying'::text, 'interrupted'::text, 'failed'::text, 'cancelled'::text, 'quarantined'::text])))
) with (fillfactor=80, autovacuum_vacuum_scale_factor=0.005, autovacuum_vacuum_threshold=5000, autovacuum_analyze_scale_factor=0.02, autovacuum_analyze_threshold=2000, autovacuum_vacuum_insert_scale_factor=0.05, autovacuum_vacuum_cost_delay=1);

CREATE INDEX milepost_task_awaiting ON milepost_task USING btree (awaited_event, awaited_key) WHERE ((awaited_event IS NOT NULL) AND (state = 'suspended'::text));

CREATE INDEX milepost_task_cancelling ON milepost_task USING btree (executor) WHERE ((executor IS NOT NULL) AND (cancel_requested_at IS NOT NULL));

CREATE INDEX milepost_task_correlation ON milepost_task USING btree (correlation, id) WHERE (correlation IS NOT NULL);

CREATE INDEX milepost_task_due ON milepost_task USING btree (queue, name, version, priority, due_at, number) WHERE (due_at IS NOT NULL);

CREATE UNIQUE INDEX milepost_task_key ON milepost_task USING btree (name, key) WHERE ((key IS NOT NULL) AND (finished_at IS NULL));

CREATE UNIQUE INDEX milepost_task_parent ON milepost_task USING btree (parent, parent_position) WHERE (parent IS NOT NULL);

CREATE INDEX milepost_task_parked ON milepost_task USING btree (name, concurrency_key, priority DESC, number) WHERE ((limited_by = 'concurrency'::text) AND (due_at IS NOT NULL));

CREATE INDEX milepost_task_running ON milepost_task USING btree (executor, queue, name, version) WHERE (executor IS NOT NULL);

CREATE UNIQUE INDEX milepost_task_schedule ON milepost_task USING btree (schedule, schedule_at) WHERE ((schedule IS NOT NULL) AND (schedule_at IS NOT NULL));

CREATE INDEX milepost_task_scheduled ON milepost_task USING btree (schedule, id) WHERE (schedule IS NOT NULL);

CREATE INDEX milepost_task_sharing ON milepost_task USING btree (name, concurrency_key) WHERE ((concurrency_key IS NOT NULL) AND (executor IS NOT NULL));

CREATE INDEX milepost_task_slots ON milepost_task USING btree (name, rate_key, slot_at) WHERE ((limited_by = 'rate'::text) AND (slot_at IS NOT NULL) AND (due_at IS NOT NULL));

CREATE INDEX milepost_task_state ON milepost_task USING btree (state, id) WHERE ((state <> 'pending'::text) AND (state <> 'running'::text) AND (state <> 'completed'::text));
