insert into milepost_history (task, revision, ordinal, at, kind, state, attempt, executor, reason, actor)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
