delete from milepost_log
where (task, fence, ordinal) in (
  select task, fence, ordinal from milepost_log where at < ? order by at limit ?
)
returning 1
