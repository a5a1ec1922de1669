-- Locked first, whatever their rows say: what somebody else is about to commit of them is waited for, and counts.
with
  locked as materialized (
    select schedule.key, schedule.queued_at
    from {schema}.milepost_schedule as schedule
    where schedule.key = any ($1::text[])
    order by schedule.key
    for no key update
  )
update {schema}.milepost_schedule as schedule
set due_at = $2, revision = schedule.revision + 1
from locked
where schedule.key = locked.key and locked.queued_at is not null
returning 1
