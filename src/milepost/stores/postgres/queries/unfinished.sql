-- The last of many children has mostly not ended yet: from there on, few entries are passed that lead to dead rows.
select wanted.id
from unnest($1::text[]) as wanted (id)
cross join lateral (
  select from {schema}.milepost_child as child
  where child.parent = wanted.id and child.state is null
  order by child.ordinal desc
  limit 1
) as child
