"""Named events that were sent, in PostgreSQL.

**Locks.** Whoever sends an event or begins to wait for one locks its name and key, by an advisory lock, before any row
of a task: in a statement of its own, so that the next one sees what was committed while this one waited. So of the two
the second sees the first, and an event is neither lost between them nor delivered twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, Final, TypeAlias, final
from zlib import crc32

from milepost.lifecycle.record import TaskRecord
from milepost.stores.flow_tables import KeptEvent, SentEvent
from milepost.stores.postgres.arrays import numbers
from milepost.stores.postgres.rows import record_of

Row: TypeAlias = tuple[Any, ...]

_SIGN: Final = 1 << 31
_LOCKS: Final = 1_024
"""One lock serves many keys: a server has room for some thousands, and a call may have more keys."""


@final
class PostgresEvents:
    """The `EventTable` of one transaction; `query` runs a statement by its name. Who only reads locks nothing."""

    def __init__(self, query: Callable[..., list[Row]], schema: str, *, reads_only: bool) -> None:
        self._query = query
        self._schema = schema
        self._waiting = "waiting_for_event" if reads_only else "waiting_for_event_locked"

    def lock(self, keys: Collection[tuple[str, str]]) -> None:
        locks = sorted({crc32("\0".join(key).encode(errors="surrogatepass")) % _LOCKS for key in keys})
        if locks:
            half = crc32(f"milepost events of {self._schema}".encode()) - _SIGN
            self._query("lock_keys", half, numbers(locks))

    def is_known(self, event: SentEvent) -> bool:
        return bool(self._query("known_event", event.name, event.key, event.id, event.sent_at))

    def keep(self, event: SentEvent, *, delivered_at: datetime | None) -> None:
        times = (event.sent_at, event.keep_until, delivered_at)
        self._query("keep_event", event.name, event.key, event.id, event.payload_json, *times)

    def take(self, name: str, key: str, *, now: datetime) -> SentEvent | None:
        taken = self._query("take_event", name, key, now)
        return SentEvent(*taken[0]) if taken else None

    def waiting(self, name: str, key: str) -> list[TaskRecord]:
        return [record_of(row) for row in self._query(self._waiting, name, key)]

    def forget(self, *, before: datetime, limit: int) -> int:
        return len(self._query("forget_events", before, max(0, limit)))

    def copy_out(self, after: int, *, limit: int) -> list[KeptEvent]:
        rows = self._query("copy_events", after, max(0, limit))
        return [KeptEvent(number, SentEvent(*event), delivered_at) for number, delivered_at, *event in rows]
