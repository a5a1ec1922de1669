select child.parent, child.task, child.name, child.version, child.state, child.result_json, child.error_json,
  child.crash
from {schema}.milepost_child as child
where child.parent = any ($1::text[])
order by child.parent, child.ordinal
