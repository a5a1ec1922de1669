-- Before children are handed over: who ends one now waits, and then sees the heir as well.
select
from {schema}.milepost_child as child
where child.parent = $1 and child.state is null
order by child.ordinal
for no key update
