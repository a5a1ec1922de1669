insert or replace into milepost_lease (executor, host, pid, started_at, renewed_at, lease_until)
values (?, ?, ?, ?, ?, ?)
