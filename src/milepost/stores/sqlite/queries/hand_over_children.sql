insert into milepost_child (parent, ordinal, task, name, version, state, result_json, error_json, crash)
select :heir, ordinal, task, name, version, state, result_json, error_json, crash
from milepost_child
where parent = :parent
