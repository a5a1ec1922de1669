select task, at, kind, state, attempt, executor, reason, actor
from milepost_history
where task in (select value from json_each(?))
order by task, revision, ordinal
