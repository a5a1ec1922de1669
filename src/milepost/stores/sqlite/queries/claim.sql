-- A damaged count may be as large as can be; one row that overflows would take every claim down.
update milepost_task
set state = 'running', due_at = null, token = :token || number, executor = :executor,
  fence = min(fence, 9223372036854775806) + 1, revision = min(revision, 9223372036854775806) + 1,
  stalls = min(stalls, 9223372036854775806) + 1, started_at = coalesce(started_at, :now)
where number in (select value from json_each(:numbers))
