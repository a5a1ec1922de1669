select at, kind, state, attempt, executor, reason
from milepost_history
where task = ?
order by revision, ordinal
