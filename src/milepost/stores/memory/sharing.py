"""What the memory store's tables know of limits: who runs and who waits, by key, and how far each rate is used up."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from datetime import datetime
from typing import NamedTuple, TypeVar, final

from milepost.clock import EPOCH
from milepost.lifecycle.limits import LimitKey
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.states import LimitKind, TaskState

Place = TypeVar("Place", "Parked", datetime)


class Parked(NamedTuple):
    """A task in the line for a share. Numbers are unique, so nothing after them decides the order."""

    backwards_priority: int
    number: int
    due_at: datetime
    id: TaskId


@final
class Sharing:
    """An index over tasks with keys of limits, in step with the rows, and the uses of rates."""

    def __init__(self) -> None:
        self.used: dict[LimitKey, datetime] = {}
        self.running: Counter[LimitKey] = Counter()
        self.lines: dict[LimitKey, list[Parked]] = {}
        self._slots: dict[LimitKey, list[datetime]] = {}

    def last_slot(self, key: LimitKey) -> datetime:
        """The last slot that a waiting task holds."""
        slots = self._slots.get(key)
        return EPOCH if slots is None else slots[-1]

    def enter(self, record: TaskRecord, number: int) -> None:
        """A row comes in."""
        if record.concurrency_key is not None:
            key = LimitKey(record.name, record.concurrency_key)
            if record.state is TaskState.RUNNING:
                self.running[key] += 1
            elif record.limited_by is LimitKind.CONCURRENCY and record.due_at is not None:
                insort(self.lines.setdefault(key, []), Parked(-record.priority, number, record.due_at, record.id))
        slot_at = _slot(record)
        if slot_at is not None:
            insort(self._slots.setdefault(_rate_key(record), []), slot_at)

    def leave(self, record: TaskRecord, number: int) -> None:
        """A row goes, as it came in."""
        if record.concurrency_key is not None:
            key = LimitKey(record.name, record.concurrency_key)
            if record.state is TaskState.RUNNING:
                self.running[key] -= 1
                if not self.running[key]:
                    del self.running[key]
            elif record.limited_by is LimitKind.CONCURRENCY and record.due_at is not None:
                _remove(self.lines, key, Parked(-record.priority, number, record.due_at, record.id))
        slot_at = _slot(record)
        if slot_at is not None:
            _remove(self._slots, _rate_key(record), slot_at)


def _slot(record: TaskRecord) -> datetime | None:
    waits = record.limited_by is LimitKind.RATE and record.due_at is not None and record.rate_key is not None
    return record.slot_at if waits else None


def _rate_key(record: TaskRecord) -> LimitKey:
    return LimitKey(record.name, record.rate_key or "")


def _remove(places: dict[LimitKey, list[Place]], key: LimitKey, value: Place) -> None:
    values = places[key]
    del values[bisect_left(values, value)]
    if not values:
        del places[key]
