"""Named events that were sent, in memory. One transaction at a time has the tables, so a lock is none."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from functools import partial
from heapq import nsmallest
from typing import final

import attrs

from milepost.lifecycle.record import TaskRecord
from milepost.stores.flow_tables import KeptEvent, SentEvent
from milepost.stores.memory.tables import Tables


@final
class MemoryEvents:
    """The `EventTable` of one transaction; `change` notes how to undo what is about to be done."""

    def __init__(self, tables: Tables, change: Callable[[Callable[[], object]], None]) -> None:
        self._tables = tables
        self._change = change

    def lock(self, keys: Collection[tuple[str, str]]) -> None:
        return

    def is_known(self, event: SentEvent) -> bool:
        kept = self._found(event)
        return kept is not None and kept.event.keep_until >= event.sent_at

    def keep(self, event: SentEvent, *, delivered_at: datetime | None) -> None:
        stale = self._found(event)
        if stale is not None:
            self._put(stale, None)
        self._tables.sendings += 1
        self._put(None, KeptEvent(self._tables.sendings, event, delivered_at))

    def take(self, name: str, key: str, *, now: datetime) -> SentEvent | None:
        kept = (self._tables.events[number] for number in self._tables.event_numbers.get((name, key), {}).values())
        early = [each for each in kept if each.delivered_at is None and each.event.keep_until >= now]
        if not early:
            return None
        first = min(early, key=_by_number)
        self._put(first, attrs.evolve(first, delivered_at=now))
        return first.event

    def waiting(self, name: str, key: str) -> list[TaskRecord]:
        return [self._tables.rows[id].record for id in sorted(self._tables.awaiting.get((name, key), ()))]

    def forget(self, *, before: datetime, limit: int) -> int:
        old = (each for each in self._tables.events.values() if each.event.keep_until < before)
        forgotten = nsmallest(max(0, limit), old, key=_by_age)
        for each in forgotten:
            self._put(each, None)
        return len(forgotten)

    def copy_out(self, after: int, *, limit: int) -> list[KeptEvent]:
        following = (each for number, each in self._tables.events.items() if number > after)
        return nsmallest(max(0, limit), following, key=_by_number)

    def _found(self, event: SentEvent) -> KeptEvent | None:
        number = self._tables.event_numbers.get((event.name, event.key), {}).get(event.id)
        return None if number is None else self._tables.events[number]

    def _put(self, before: KeptEvent | None, after: KeptEvent | None) -> None:
        self._change(partial(self._set, after, before))
        self._set(before, after)

    def _set(self, before: KeptEvent | None, after: KeptEvent | None) -> None:
        tables = self._tables
        if before is not None:
            del tables.events[before.number]
            numbers = tables.event_numbers[before.event.name, before.event.key]
            del numbers[before.event.id]
            if not numbers:
                del tables.event_numbers[before.event.name, before.event.key]
        if after is not None:
            tables.events[after.number] = after
            tables.event_numbers.setdefault((after.event.name, after.event.key), {})[after.event.id] = after.number


def _by_number(kept: KeptEvent) -> int:
    return kept.number


def _by_age(kept: KeptEvent) -> tuple[datetime, int]:
    return kept.event.keep_until, kept.number
