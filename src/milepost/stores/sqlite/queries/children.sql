select parent, task, name, version, state, result_json, error_json, crash
from milepost_child
where parent in (select value from json_each(?))
order by parent, ordinal
