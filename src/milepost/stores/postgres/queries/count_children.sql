select child.parent, count(*) filter (where child.state is null), count(*) filter (where child.state = 'completed'),
  count(*) filter (where child.state = 'failed'), count(*) filter (where child.state = 'cancelled')
from {schema}.milepost_child as child
where child.parent = any ($1::text[])
group by child.parent
