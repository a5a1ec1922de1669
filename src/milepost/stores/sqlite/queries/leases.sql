select executor, host, pid, started_at, renewed_at, lease_until from milepost_lease order by executor
