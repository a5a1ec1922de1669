-- Of one stretch of ids, what ended in one of these states before its time; a state without a time is never meant.
select id, state, finished_at, revision
from milepost_task
where id > :after and id <= :until
  and finished_at < case state when 'completed' then :completed when 'failed' then :failed else :cancelled end
order by id
limit :limit
