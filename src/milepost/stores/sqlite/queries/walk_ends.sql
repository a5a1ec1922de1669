select max(id), max(created_at), count(*)
from (select id, created_at from milepost_task where id > ? order by id limit ?)
