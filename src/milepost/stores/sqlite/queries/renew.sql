update milepost_lease set renewed_at = ?, lease_until = ?, running = ? where executor = ? returning 1
