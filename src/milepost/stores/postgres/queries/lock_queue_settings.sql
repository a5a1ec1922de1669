-- Goes with those that only read, and with none that lock a row of the table or may, as every claim does.
lock table {schema}.milepost_queue in exclusive mode
