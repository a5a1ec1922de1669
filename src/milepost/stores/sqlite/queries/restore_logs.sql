insert into milepost_log (task, fence, ordinal, at, level, logger, message) values (?, ?, ?, ?, ?, ?, ?)
