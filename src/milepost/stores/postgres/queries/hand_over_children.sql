with
  handed as (
    insert into {schema}.milepost_child (parent, ordinal, task, name, version, state, result_json, error_json, crash)
    select $2, child.ordinal, child.task, child.name, child.version, child.state, child.result_json, child.error_json,
      child.crash
    from {schema}.milepost_child as child
    where child.parent = $1
    returning state
  )
select exists (select from handed where state is null)
