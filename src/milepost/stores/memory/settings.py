"""What has been said of queues, in memory. One transaction at a time has the tables, so locks are none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import final

import attrs

from milepost.lifecycle.queues import QueueSettings
from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.stores.memory.tables import Tables
from milepost.stores.protocol import Hint
from milepost.stores.tables import QueueLoad


@final
class MemoryQueueTable:
    """Settings of queues within a transaction; `change` notes how to undo, `hint` what to tell."""

    def __init__(
        self, tables: Tables, *, change: Callable[[Callable[[], object]], None], hint: Callable[[Hint], None]
    ) -> None:
        self._tables = tables
        self._change = change
        self._hint = hint

    def all(self) -> list[QueueSettings]:
        settings = self._tables.settings
        return [settings[name] for name in sorted(settings)]

    def get(self, names: Sequence[str]) -> dict[str, QueueSettings]:
        settings = self._tables.settings
        return {name: settings[name] for name in names if name in settings}

    def put(self, settings: QueueSettings) -> None:
        self._change(partial(self._set, settings.name, self._tables.settings.get(settings.name)))
        self._set(settings.name, None if settings.says_nothing else settings)
        self._hint(Hint.DUE | Hint.FINAL)

    def lock(self) -> None:
        return

    def lock_running(self, names: Sequence[str]) -> dict[str, QueueSettings]:
        return self.get(names)

    def lock_intake(self, names: Sequence[str]) -> None:
        return

    def waiting(self, name: str, *, most: int) -> int:
        return min(most, self._tables.waiting_in(name))

    def running(self, name: str) -> int:
        return self._tables.running_in(name)

    def tell_free(self) -> None:
        self._hint(Hint.DUE)

    def loads(self, *, now: datetime) -> list[QueueLoad]:
        found: dict[str, QueueLoad] = {}
        for row in self._tables.rows.values():
            record = row.record
            if record.state.is_live:
                found[record.queue] = _with(found.get(record.queue, QueueLoad(queue=record.queue)), record, now)
        return [found[queue] for queue in sorted(found)]

    def _set(self, name: str, settings: QueueSettings | None) -> None:
        if settings is None:
            self._tables.settings.pop(name, None)
        else:
            self._tables.settings[name] = settings


def _with(load: QueueLoad, record: TaskRecord, now: datetime) -> QueueLoad:
    """The load, with one more live task."""
    if record.due_at is not None:
        due = int(record.due_at <= now)
        oldest = record.due_at if load.oldest_due_at is None else min(record.due_at, load.oldest_due_at)
        since = oldest if oldest <= now else None
        return attrs.evolve(load, waiting=load.waiting + 1, due=load.due + due, oldest_due_at=since)
    match record.state:
        case TaskState.RUNNING:
            return attrs.evolve(load, running=load.running + 1)
        case TaskState.QUARANTINED:
            return attrs.evolve(load, quarantined=load.quarantined + 1)
        case _:
            return attrs.evolve(load, suspended=load.suspended + 1)
