select task, fence, ordinal, at, level, logger, message
from milepost_log
where task in (select value from json_each(?))
order by task, fence, ordinal
