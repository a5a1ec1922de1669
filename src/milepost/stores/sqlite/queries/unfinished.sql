-- Which of these wait for a child that has not ended.
select wanted.value
from json_each(?) as wanted
where exists (
  select 1 from milepost_child indexed by milepost_child_unfinished where parent = wanted.value and state is null
)
