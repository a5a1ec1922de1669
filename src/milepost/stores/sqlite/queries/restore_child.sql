insert into milepost_child (parent, ordinal, task, name, version, state, result_json, error_json, crash)
values (?, ?, ?, ?, ?, ?, ?, ?, ?)
