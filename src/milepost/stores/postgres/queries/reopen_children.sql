update {schema}.milepost_child as child
set state = null, result_json = null, error_json = null, crash = null
where child.task = any ($1::text[]) and child.parent = any ($2::text[]) and child.state is not null
