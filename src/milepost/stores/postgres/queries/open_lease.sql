insert into {schema}.milepost_lease (
  executor, host, pid, started_at, renewed_at, lease_until, slots, running, tasks, queues, terms
) values ($1, $2, $3, $4, $5, $6, $7, $8, $9::json, $10::text[], $11::json)
on conflict (executor) do update set
  host = excluded.host, pid = excluded.pid, started_at = excluded.started_at, renewed_at = excluded.renewed_at,
  lease_until = excluded.lease_until, slots = excluded.slots, running = excluded.running, tasks = excluded.tasks,
  queues = excluded.queues, terms = excluded.terms
