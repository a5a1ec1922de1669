-- Takes expired tasks, at most $5 of them, then due ones up to $4 in all. $1 executor, $2 queue, $3 now, $6 names with
-- $7 the highest version known of each, $8 the start of every token, $9 the audit levels that keep a claim, $10 how many
-- due ones may be added to what runs of the queue, null where nobody has counted.
-- A lane is a name, a version and a priority; within it only due time and arrival decide. Lanes are found by jumps in
-- the index, each lane is read from its head and no further than needed. First it is counted what is wanted of each
-- lane, then so many rows of each are locked, past those that others have locked. Before the head of a lane there is
-- what was claimed since the last vacuum: to find the head is to pass it by, and that is done once.
-- A damaged count may be as large as can be; one row that overflows would take every claim down.
-- That a row may be locked here locks the table of settings against those who change it, whether there is a row or not.
with recursive
  shut as materialized (
    select from {schema}.milepost_queue
    where name = $2 and (paused_at is not null or (concurrency is not null and $10::int is null))
    for key share
  ),
  wanted (name, known) as materialized (
    select * from unnest($6::text[], $7::int[]) where not exists (select from shut)
  ),
  lane (name, known, version, priority, due_at, number) as (
    select wanted.name, wanted.known, head.version, head.priority, head.due_at, head.number
    from wanted
    cross join lateral (
      select task.version, task.priority, task.due_at, task.number
      from {schema}.milepost_task as task
      where task.queue = $2 and task.name = wanted.name and task.version <= wanted.known and task.due_at is not null
      order by task.version, task.priority, task.due_at, task.number
      limit 1
    ) as head
    union all
    select lane.name, lane.known, head.version, head.priority, head.due_at, head.number
    from lane
    cross join lateral (
      select task.version, task.priority, task.due_at, task.number
      from {schema}.milepost_task as task
      where task.queue = $2 and task.name = lane.name and task.version <= lane.known and task.due_at is not null
        and (task.version, task.priority) > (lane.version, lane.priority)
      order by task.version, task.priority, task.due_at, task.number
      limit 1
    ) as head
  ),
  due_lane as materialized (select name, version, priority, due_at, number from lane where due_at <= $3),
  owner (executor) as (
    (select executor from {schema}.milepost_task where executor is not null order by executor limit 1)
    union all
    select (
      select task.executor from {schema}.milepost_task as task
      where task.executor > owner.executor
      order by task.executor
      limit 1
    )
    from owner
    where owner.executor is not null
  ),
  dead as materialized (
    select owner.executor
    from owner
    where owner.executor is not null and not exists (
      select 1 from {schema}.milepost_lease as lease
      where lease.executor = owner.executor and lease.lease_until >= $3
    )
  ),
  expired as materialized (
    select locked.place, row_number() over (order by locked.number) as turn
    from (
      select task.number, task.executor, task.place
      from dead
      cross join wanted
      cross join lateral (
        select task.number, task.executor, task.ctid as place
        from {schema}.milepost_task as task
        where task.executor = dead.executor and task.queue = $2 and task.name = wanted.name
          and task.version <= wanted.known
        order by task.number
        limit $5::int
      ) as task
      order by task.number
      limit case when $4::int = 1 and $10::int is distinct from 0 and exists (select 1 from due_lane) then 0 else $5::int end
    ) as candidate
    cross join lateral (
      select task.number, task.ctid as place
      from {schema}.milepost_task as task
      where task.ctid = candidate.place and task.executor = candidate.executor
      for no key update skip locked
    ) as locked
  ),
  share as materialized (
    select counted.name, counted.version, counted.priority, counted.due_at, counted.number, count(*) as rows
    from (
      -- Read lazily, lane by lane of one priority after the other: the limit ends it.
      select first.name, first.version, first.priority, first.due_at, first.number
      from (select distinct priority from due_lane order by priority desc) as level
      cross join lateral (
        select due_lane.name, due_lane.version, due_lane.priority, due_lane.due_at, due_lane.number
        from due_lane
        cross join lateral (
          select task.due_at, task.number
          from {schema}.milepost_task as task
          where task.queue = $2 and task.name = due_lane.name and task.version = due_lane.version
            and task.priority = due_lane.priority and task.due_at <= $3
            and (task.due_at, task.number) >= (due_lane.due_at, due_lane.number)
          order by task.due_at, task.number
          limit $4::int
        ) as row
        where due_lane.priority = level.priority
        order by row.due_at, row.number
        limit $4::int
      ) as first
      limit least($4::int - (select count(*) from expired), $10::int)
    ) as counted
    group by counted.name, counted.version, counted.priority, counted.due_at, counted.number
  ),
  due as materialized (
    select locked.place, row_number() over (order by share.priority desc, locked.due_at, locked.number) as turn
    from share
    cross join lateral (
      select task.due_at, task.number, task.ctid as place
      from {schema}.milepost_task as task
      where task.queue = $2 and task.name = share.name and task.version = share.version
        and task.priority = share.priority and task.due_at <= $3
        and (task.due_at, task.number) >= (share.due_at, share.number)
      order by task.due_at, task.number
      limit share.rows
      for no key update skip locked
    ) as locked
  ),
  picked as materialized (
    select place, turn, true as is_expired from expired
    union all
    select place, turn + $4::int, false from due
  ),
  claimed as (
    update {schema}.milepost_task as task
    set state = 'running', due_at = null, token = $8::text || number, executor = $1,
      fence = least(fence, 2147483646) + 1, revision = least(revision, 2147483646) + 1,
      stalls = least(stalls, 2147483646) + 1, started_at = coalesce(started_at, $3)
    from picked
    where task.ctid = picked.place
    returning task.*, picked.turn, picked.is_expired
  ),
  told as (
    insert into {schema}.milepost_history (task, at, revision, ordinal, attempt, kind, state, executor, reason)
    select number, $3, revision, 0, least(failures, 2147483646) + 1,
      case when is_expired then 'reclaimed' else 'claimed' end, 'running', executor, ''
    from claimed
    where audit = any ($9::text[])
  )
select {record}
from claimed as task
order by turn
