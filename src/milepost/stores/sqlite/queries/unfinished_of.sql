select task
from milepost_child indexed by milepost_child_unfinished
where parent = ? and state is null
order by ordinal
