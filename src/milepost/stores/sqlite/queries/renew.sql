update milepost_lease set renewed_at = ?, lease_until = ? where executor = ? returning 1
