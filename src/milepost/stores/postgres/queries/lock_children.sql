-- Who waits for the end of these, before it is kept: whoever hands children over has them locked, and what was handed
-- over is seen by the next statement. In the order in which all of milepost locks children; written so that they are
-- found by their tasks, and not by walking an index that has this order, or only the unfinished ones, of all there are.
select
from {schema}.milepost_child as child
where child.task = any ($1::text[]) and (child.state is null) is true
order by child.parent || '', child.ordinal
for no key update
