update {schema}.milepost_lease set renewed_at = $1, lease_until = $2, running = $3 where executor = $4 returning 1
