-- A transaction decides on what it reads here, so that it must not change until then. In the order of all locks on rows.
select {record} from {schema}.milepost_task as task where task.id = any ($1::text[]) order by task.id for no key update
