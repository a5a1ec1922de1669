-- Each with its parent, in no order. `union` ends it where a task descends from itself.
with recursive
  family (id, parent) as (
    select task.id, task.parent
    from json_each(?) as root
    cross join milepost_task as task indexed by milepost_task_parent on task.parent = root.value
    union
    select task.id, task.parent
    from family
    cross join milepost_task as task indexed by milepost_task_parent on task.parent = family.id
  )
select parent, id from family
