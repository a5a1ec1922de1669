delete from milepost_lease where executor = ?
