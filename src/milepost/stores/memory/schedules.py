"""What fires again and again, in memory. One transaction at a time has the tables, so nobody else looks meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from functools import partial
from heapq import nsmallest
from typing import final

import attrs

from milepost.stores.flow_tables import ScheduleRow
from milepost.stores.memory.tables import Tables
from milepost.stores.protocol import Hint


@final
class MemorySchedules:
    """The `ScheduleTable` of one transaction; `change` notes how to undo, `hint` what to tell."""

    def __init__(
        self, tables: Tables, *, change: Callable[[Callable[[], object]], None], hint: Callable[[Hint], None]
    ) -> None:
        self._rows = tables.schedules
        self._change = change
        self._hint = hint

    def get(self, keys: Collection[str]) -> dict[str, ScheduleRow]:
        return {key: self._rows[key] for key in keys if key in self._rows}

    def all(self) -> list[ScheduleRow]:
        return [self._rows[key] for key in sorted(self._rows)]

    def insert(self, row: ScheduleRow) -> bool:
        if row.key in self._rows:
            return False
        self._put(row.key, row)
        self._hint(Hint.DUE)
        return True

    def write(self, row: ScheduleRow) -> bool:
        before = self._rows.get(row.key)
        if before is None or before.revision != row.revision:
            return False
        self._put(row.key, attrs.evolve(row, revision=row.revision + 1))
        self._hint(Hint.DUE)
        return True

    def delete(self, keys: Sequence[str]) -> list[str]:
        deleted = [key for key in dict.fromkeys(keys) if key in self._rows]
        for key in deleted:
            self._put(key, None)
        return deleted

    def due(self, *, now: datetime, limit: int) -> list[ScheduleRow]:
        due = ((row.due_at, row.key) for row in self._rows.values() if row.due_at is not None and row.due_at <= now)
        return [self._rows[key] for _, key in nsmallest(max(0, limit), due)]

    def next_due(self) -> datetime | None:
        return min((row.due_at for row in self._rows.values() if row.due_at is not None), default=None)

    def wake(self, keys: Sequence[str], *, now: datetime) -> None:
        for row in self.get(keys).values():
            if row.state.queued_at is not None:
                self._put(row.key, attrs.evolve(row, due_at=now, revision=row.revision + 1))
                self._hint(Hint.DUE)

    def _put(self, key: str, row: ScheduleRow | None) -> None:
        self._change(partial(self._set, key, self._rows.get(key)))
        self._set(key, row)

    def _set(self, key: str, row: ScheduleRow | None) -> None:
        if row is None:
            self._rows.pop(key, None)
        else:
            self._rows[key] = row
