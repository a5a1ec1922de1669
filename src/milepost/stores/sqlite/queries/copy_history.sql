select task, at, kind, state, attempt, executor, reason
from milepost_history
where task in (select value from json_each(?))
order by task, revision, ordinal
