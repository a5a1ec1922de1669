"""The lines that runs have logged, in SQLite."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final, final

from milepost.clock import from_micros, to_micros
from milepost.lifecycle.record import TaskId
from milepost.stores.sqlite.driver import Connection, Row
from milepost.stores.sqlite.statements import statement
from milepost.stores.tables import LogLine

_APPEND: Final = statement("append_logs")
_RESTORE: Final = statement("restore_logs")
_OF: Final = statement("logs")
_COPY: Final = statement("copy_logs")
_PRUNE: Final = statement("prune_logs")
_DELETE: Final = statement("delete_logs")


@final
class SqliteLogs:
    """The `LogTable` of one transaction. `changed` tells its session that something was written."""

    def __init__(self, database: Callable[[], Connection], changed: Callable[[], None]) -> None:
        self._database = database
        self._changed = changed

    def append(self, lines: Sequence[LogLine]) -> None:
        self._database().many(_APPEND, map(_values, lines))
        self._changed()

    def restore(self, lines: Iterable[LogLine]) -> None:
        """Add lines whatever run they are of, as a copy does."""
        self._database().many(_RESTORE, map(_values, lines))

    def of(self, id: TaskId, *, limit: int, after: tuple[int, int] = (-1, -1)) -> list[LogLine]:
        return [_line_of(row) for row in self._database().execute(_OF, (id, *after, max(0, limit)))]

    def of_all(self, ids: Sequence[TaskId]) -> list[LogLine]:
        """Every line of these tasks, each task's in order."""
        return [_line_of(row) for row in self._database().execute(_COPY, (json.dumps(ids),))]

    def prune(self, *, before: datetime, limit: int) -> int:
        pruned = self._database().execute(_PRUNE, (to_micros(before), max(0, limit)))
        self._changed()
        return len(pruned)

    def forget(self, ids: Sequence[TaskId]) -> None:
        """Remove the lines of tasks that are removed."""
        self._database().execute(_DELETE, (json.dumps(ids),))


def _values(line: LogLine) -> tuple[object, ...]:
    return (line.task, line.fence, line.ordinal, to_micros(line.at), line.level, line.logger, line.message)


def _line_of(row: Row) -> LogLine:
    task, fence, ordinal, at, level, logger, message = row
    return LogLine(TaskId(task), fence, ordinal, from_micros(at), level, logger, message)
