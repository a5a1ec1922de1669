select at, kind, state, attempt, executor, reason, actor
from milepost_history
where task = ?
order by revision, ordinal
