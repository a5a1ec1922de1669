select id, fence, token, cancel_reason from {schema}.milepost_task where executor = $1 order by id
