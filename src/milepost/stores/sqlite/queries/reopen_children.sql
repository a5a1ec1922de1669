update milepost_child indexed by milepost_child_task
set state = null, result_json = null, error_json = null, crash = null
where task in (select value from json_each(?)) and state is not null and exists (
  select 1 from milepost_task as parent
  where parent.id = milepost_child.parent and parent.state = 'suspended' and parent.join_mode is not null
)
