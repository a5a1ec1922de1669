select task, fence, ordinal, at, level, logger, message
from milepost_log
where task = ? and (fence, ordinal) > (?, ?)
order by fence, ordinal
limit ?
