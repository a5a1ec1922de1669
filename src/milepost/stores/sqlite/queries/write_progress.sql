update milepost_task set progress = ?, progress_note = ? where id = ?
