"""Named events that were sent, in a SQLite file. Who may write is alone, so a lock is no more than to begin writing."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Final, final

from milepost.clock import from_micros, to_micros
from milepost.lifecycle.record import TaskRecord
from milepost.stores.flow_tables import KeptEvent, SentEvent
from milepost.stores.sqlite.driver import Connection, Row
from milepost.stores.sqlite.moments import micros_of, moment_of
from milepost.stores.sqlite.rows import record_of
from milepost.stores.sqlite.statements import statement

_KNOWN: Final = statement("known_event")
_KEEP: Final = statement("keep_event")
_TAKE: Final = statement("take_event")
_WAITING: Final = statement("waiting_for_event")
_FORGET: Final = statement("forget_events")
_COPY: Final = statement("copy_events")


@final
class SqliteEvents:
    """The `EventTable` of one transaction; `begin` makes sure that it is one that writes."""

    def __init__(self, database: Connection, *, begin: Callable[[], None]) -> None:
        self._database = database
        self._begin = begin

    def lock(self, keys: Collection[tuple[str, str]]) -> None:
        self._begin()

    def is_known(self, event: SentEvent) -> bool:
        return bool(self._database.execute(_KNOWN, (event.name, event.key, event.id, to_micros(event.sent_at))))

    def keep(self, event: SentEvent, *, delivered_at: datetime | None) -> None:
        times = (to_micros(event.sent_at), to_micros(event.keep_until), micros_of(delivered_at))
        self._database.execute(_KEEP, (event.name, event.key, event.id, event.payload_json, *times))
        self._begin()

    def take(self, name: str, key: str, *, now: datetime) -> SentEvent | None:
        taken = self._database.execute(_TAKE, (to_micros(now), name, key, to_micros(now)))
        self._begin()
        return _event_of(taken[0]) if taken else None

    def waiting(self, name: str, key: str) -> list[TaskRecord]:
        return [record_of(row) for row in self._database.execute(_WAITING, (name, key))]

    def forget(self, *, before: datetime, limit: int) -> int:
        forgotten = self._database.execute(_FORGET, (to_micros(before), max(0, limit)))
        self._begin()
        return len(forgotten)

    def copy_out(self, after: int, *, limit: int) -> list[KeptEvent]:
        rows = self._database.execute(_COPY, (after, max(0, limit)))
        return [KeptEvent(number, _event_of(tuple(event)), moment_of(delivered)) for number, delivered, *event in rows]


def _event_of(row: Row) -> SentEvent:
    name, key, id, payload, sent_at, keep_until = row
    return SentEvent(name, key, id, payload, from_micros(sent_at), from_micros(keep_until))
