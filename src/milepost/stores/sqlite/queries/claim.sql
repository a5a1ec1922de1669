update milepost_task
set state = 'running', due_at = null, fence = fence + 1, token = :token || number, executor = :executor,
  revision = revision + 1, stalls = stalls + 1, started_at = coalesce(started_at, :now)
where number in (select value from json_each(:numbers))
