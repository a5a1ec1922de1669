-- Each with its parent, in no order. `union` ends it where a task descends from itself.
with recursive
  family (id, parent) as (
    select task.id, task.parent from {schema}.milepost_task as task where task.parent = any ($1::text[])
    union
    select task.id, task.parent
    from family
    join {schema}.milepost_task as task on task.parent = family.id
  )
select parent, id from family
