"""The lines that runs have logged, in the memory store: by task, then by run and ordinal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from heapq import nsmallest
from itertools import chain, islice
from typing import final

from milepost.lifecycle.record import TaskId
from milepost.stores.memory.tables import Lines, Tables
from milepost.stores.tables import LogLine


@final
class MemoryLogs:
    """The `LogTable` of one transaction. `change` notes how to undo what is about to be done."""

    def __init__(self, tables: Callable[[], Tables], change: Callable[[Callable[[], object]], None]) -> None:
        self._tables = tables
        self._change = change

    def append(self, lines: Sequence[LogLine]) -> None:
        rows = self._tables().rows
        self.restore(line for line in lines if line.task in rows and rows[line.task].record.fence == line.fence)

    def restore(self, lines: Iterable[LogLine]) -> None:
        """Add lines whatever run they are of, as a copy does."""
        logs = self._tables().logs
        for line in lines:
            of_task = logs.setdefault(line.task, {})
            place = (line.fence, line.ordinal)
            if place not in of_task:
                self._change(partial(of_task.pop, place))
                of_task[place] = line

    def of(self, id: TaskId, *, limit: int, after: tuple[int, int] = (-1, -1)) -> list[LogLine]:
        lines = self._tables().logs.get(id, {})
        places = (place for place in sorted(lines) if place > after)
        return [lines[place] for place in islice(places, max(0, limit))]

    def prune(self, *, before: datetime, limit: int) -> int:
        logs = self._tables().logs
        old = (line for line in chain.from_iterable(lines.values() for lines in logs.values()) if line.at < before)
        oldest = nsmallest(limit, old, key=lambda line: line.at)
        for line in oldest:
            self._change(partial(logs[line.task].__setitem__, (line.fence, line.ordinal), line))
            del logs[line.task][line.fence, line.ordinal]
        return len(oldest)

    def forget(self, id: TaskId) -> None:
        """Remove the lines of a task that is removed."""
        logs = self._tables().logs
        lines: Lines | None = logs.pop(id, None)
        if lines is not None:
            self._change(partial(logs.__setitem__, id, lines))
