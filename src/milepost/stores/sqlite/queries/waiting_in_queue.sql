select count(*)
from (select 1 from milepost_task indexed by milepost_task_due where queue = ? and due_at is not null limit ?)
