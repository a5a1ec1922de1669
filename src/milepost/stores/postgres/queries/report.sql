-- The state and not the executor: the index of executors has few rows when plans are made, and looks better than it is.
update {schema}.milepost_task as task
set progress = wanted.progress, progress_note = wanted.note
from unnest($1::text[], $2::text[], $3::double precision[], $4::text[]) as wanted (id, token, progress, note)
where task.id = wanted.id and task.token = wanted.token and task.state = 'running'
