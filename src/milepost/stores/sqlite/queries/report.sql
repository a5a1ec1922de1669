update milepost_task set progress = ?, progress_note = ? where id = ? and token = ? and executor is not null
