select parent, sum(state is null), sum(state is 'completed'), sum(state is 'failed'), sum(state is 'cancelled')
from milepost_child
where parent in (select value from json_each(?))
group by parent
