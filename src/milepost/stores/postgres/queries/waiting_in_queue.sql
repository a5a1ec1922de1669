select count(*)
from (select from {schema}.milepost_task where queue = $1 and due_at is not null limit $2) as waiting
