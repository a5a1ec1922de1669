select child.task
from {schema}.milepost_child as child
where child.parent = $1 and child.state is null
order by child.ordinal
