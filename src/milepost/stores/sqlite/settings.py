"""What has been said of queues, in a SQLite file. Who may write is alone, so a lock only makes sure of that."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final, final

from milepost.clock import from_micros, to_micros
from milepost.lifecycle.queues import QueueSettings, WhenFull
from milepost.stores.protocol import Hint
from milepost.stores.sqlite.driver import Connection, Row
from milepost.stores.sqlite.statements import statement
from milepost.stores.tables import QueueLoad

_ALL: Final = statement("queue_settings")
_GET: Final = statement("queue_settings_of")
_PUT: Final = statement("put_queue_settings")
_DROP: Final = statement("drop_queue_settings")
_WAITING: Final = statement("waiting_in_queue")
_RUNNING: Final = statement("running_in_queue")
_LOADS: Final = statement("queue_loads")
_PAUSED: Final = statement("paused_queues")
_BOUNDED: Final = statement("bounded_queues")
_SHUT: Final = statement("shut_queue")

_WHEN_FULL: Final = MappingProxyType({each.value: each for each in WhenFull})


@final
class SqliteQueueTable:
    """Settings of queues within a transaction; `begin` makes sure that it is one that writes."""

    def __init__(self, database: Connection, *, begin: Callable[[], None], hint: Callable[[Hint], None]) -> None:
        self._database = database
        self._begin = begin
        self._hint = hint

    def all(self) -> list[QueueSettings]:
        return [_settings_of(row) for row in self._database.execute(_ALL)]

    def get(self, names: Sequence[str]) -> dict[str, QueueSettings]:
        found = map(_settings_of, self._database.execute(_GET, (json.dumps(names),)))
        return {settings.name: settings for settings in found}

    def put(self, settings: QueueSettings) -> None:
        if settings.says_nothing:
            self._database.execute(_DROP, (settings.name,))
        else:
            self._database.execute(_PUT, _values_of(settings))
        self._begin()
        self._hint(Hint.DUE | Hint.FINAL)

    def lock(self) -> None:
        self._begin()

    def lock_running(self, names: Sequence[str]) -> dict[str, QueueSettings]:
        self._begin()
        return self.get(names)

    def lock_intake(self, names: Sequence[str]) -> None:
        self._begin()

    def waiting(self, name: str, *, most: int) -> int:
        ((waiting,),) = self._database.execute(_WAITING, (name, most))
        return int(waiting)

    def running(self, name: str) -> int:
        ((running,),) = self._database.execute(_RUNNING, (name,))
        return int(running)

    def tell_free(self) -> None:
        self._hint(Hint.DUE)

    def loads(self, *, now: datetime) -> list[QueueLoad]:
        return [_load_of(row) for row in self._database.execute(_LOADS, {"now": to_micros(now)})]


def paused_queues(database: Connection) -> set[str]:
    """Those that nothing starts in."""
    return {name for (name,) in database.execute(_PAUSED)}


def bounded_queues(database: Connection) -> set[str]:
    """Those that have a capacity."""
    return {name for (name,) in database.execute(_BOUNDED)}


def is_shut(database: Connection, queue: str, *, counted: bool) -> bool:
    """Whether the queue gives nothing: it is paused, or limited and nobody has counted."""
    return bool(database.execute(_SHUT, (queue, counted)))


def _values_of(settings: QueueSettings) -> tuple[object, ...]:
    return (
        settings.name,
        None if settings.paused_at is None else to_micros(settings.paused_at),
        settings.paused_reason,
        settings.weight,
        settings.concurrency,
        settings.capacity,
        settings.when_full.value,
        settings.spill_to,
    )


def _settings_of(row: Row) -> QueueSettings:
    name, paused_at, paused_reason, weight, concurrency, capacity, when_full, spill_to = row
    return QueueSettings(
        name=name,
        paused_at=None if paused_at is None else from_micros(paused_at),
        paused_reason=paused_reason,
        weight=weight,
        concurrency=concurrency,
        capacity=capacity,
        when_full=_WHEN_FULL.get(when_full, WhenFull.REJECT),
        spill_to=spill_to,
    )


def _load_of(row: Row) -> QueueLoad:
    queue, waiting, due, running, suspended, quarantined, oldest = row
    return QueueLoad(
        queue=queue,
        waiting=waiting,
        due=due,
        running=running,
        suspended=suspended,
        quarantined=quarantined,
        oldest_due_at=None if oldest is None else from_micros(oldest),
    )
