"""The lines that runs have logged, in PostgreSQL."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, final

from milepost.lifecycle.record import TaskId
from milepost.stores.postgres.arrays import moments, numbers, texts
from milepost.stores.tables import LogLine


@final
class PostgresLogs:
    """The `LogTable` of one transaction. `query` runs a statement by its name."""

    def __init__(self, query: Callable[..., list[tuple[Any, ...]]]) -> None:
        self._query = query

    def append(self, lines: Sequence[LogLine]) -> None:
        if lines:
            self._query("append_logs", *_arrays(sorted(lines, key=_task)))

    def restore(self, lines: Sequence[LogLine]) -> None:
        """Add lines whatever run they are of, as a copy does."""
        if lines:
            self._query("restore_logs", *_arrays(lines))

    def of(self, id: TaskId, *, limit: int, after: tuple[int, int] = (-1, -1)) -> list[LogLine]:
        return [LogLine(TaskId(row[0]), *row[1:]) for row in self._query("logs", id, *after, max(0, limit))]

    def of_all(self, ids: Mapping[int, TaskId]) -> dict[int, list[LogLine]]:
        """Every line of these tasks, by the tasks' numbers, each task's in order."""
        lines: defaultdict[int, list[LogLine]] = defaultdict(list)
        for number, *rest in self._query("copy_logs", numbers([*ids])):
            lines[number].append(LogLine(ids[number], *rest))
        return lines

    def prune(self, *, before: datetime, limit: int) -> int:
        return len(self._query("prune_logs", before, max(0, limit)))


def _task(line: LogLine) -> TaskId:
    return line.task


def _arrays(lines: Sequence[LogLine]) -> list[str]:
    return [
        texts([line.task for line in lines]),
        numbers([line.fence for line in lines]),
        numbers([line.ordinal for line in lines]),
        moments([line.at for line in lines]),
        numbers([line.level for line in lines]),
        texts([line.logger for line in lines]),
        texts([line.message for line in lines]),
    ]
