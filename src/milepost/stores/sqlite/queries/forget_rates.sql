delete from milepost_rate
where (name, key) in (
  select name, key from milepost_rate indexed by milepost_rate_idle where used_until < ? order by used_until limit ?
)
returning 1
