"""What has been said of queues, in PostgreSQL.

**Locks.** A claim locks the table of settings so that claims go together and `lock` waits for them; which settings it
sees is decided after that. `lock_running` locks the rows of limited queues, in the order of their names, in a statement
of its own: the next one sees what was claimed while it waited. Who inserts into a bounded queue locks its name and not
its row, so that neither waits for a claim nor one for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, TypeAlias, final
from zlib import crc32

from milepost.lifecycle.queues import QueueSettings, WhenFull
from milepost.stores.postgres.arrays import numbers, texts
from milepost.stores.protocol import Hint
from milepost.stores.tables import QueueLoad

Row: TypeAlias = tuple[Any, ...]

_INTAKE_LOCKS: Final = 1 << 31
_WHEN_FULL: Final = MappingProxyType({each.value: each for each in WhenFull})


@final
class PostgresQueueTable:
    """Settings of queues within a transaction; `query` runs a statement by its name."""

    def __init__(self, query: Callable[..., list[Row]], schema: str, *, hint: Callable[[Hint], None]) -> None:
        self._query = query
        self._schema = schema
        self._hint = hint

    def all(self) -> list[QueueSettings]:
        return [_settings_of(row) for row in self._query("queue_settings")]

    def get(self, names: Sequence[str]) -> dict[str, QueueSettings]:
        return _by_name(self._query("queue_settings_of", texts(names)) if names else [])

    def put(self, settings: QueueSettings) -> None:
        if settings.says_nothing:
            self._query("drop_queue_settings", settings.name)
        else:
            self._query("put_queue_settings", *_values_of(settings))
        self._hint(Hint.DUE | Hint.FINAL)

    def lock(self) -> None:
        self._query("lock_queue_settings")

    def lock_running(self, names: Sequence[str]) -> dict[str, QueueSettings]:
        return _by_name(self._query("lock_limited_queues", texts(names)) if names else [])

    def lock_intake(self, names: Sequence[str]) -> None:
        locks = sorted({_lock_of(name) for name in names})
        if locks:
            half = crc32(f"milepost intake of {self._schema}".encode()) - _INTAKE_LOCKS
            self._query("lock_keys", half, numbers(locks))

    def waiting(self, name: str, *, most: int) -> int:
        ((waiting,),) = self._query("waiting_in_queue", name, most)
        return int(waiting)

    def running(self, name: str) -> int:
        ((running,),) = self._query("running_in_queue", name)
        return int(running)

    def tell_free(self) -> None:
        self._hint(Hint.DUE)

    def loads(self, *, now: datetime) -> list[QueueLoad]:
        return [_load_of(row) for row in self._query("queue_loads", now)]


def _lock_of(name: str) -> int:
    return crc32(name.encode(errors="surrogatepass")) % _INTAKE_LOCKS


def _by_name(rows: Sequence[Row]) -> dict[str, QueueSettings]:
    return {settings.name: settings for settings in map(_settings_of, rows)}


def _values_of(settings: QueueSettings) -> tuple[object, ...]:
    return (
        settings.name,
        settings.paused_at,
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
        paused_at=paused_at,
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
        oldest_due_at=oldest,
    )
