"""The tables of the memory store and their indexes, changed through one primitive, `Tables.replace`.

The indexes hold exactly what a claim may ask for, so that it never looks at a row that it cannot take: waiting rows by
place, priority and version in order of due time; running rows by owner; live keys.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple, TypeAlias, final

from milepost.lifecycle.queues import QueueSettings
from milepost.lifecycle.record import HistoryEvent, TaskId, TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.stores.flow_tables import KeptEvent, ScheduleRow
from milepost.stores.memory.family import Family
from milepost.stores.memory.sharing import Sharing
from milepost.stores.protocol import Lease
from milepost.stores.tables import LogLine


class Row(NamedTuple):
    """A record and its number in the order of arrival."""

    number: int
    record: TaskRecord


class Place(NamedTuple):
    """Where an executor looks for tasks."""

    queue: str
    name: str


class Lane(NamedTuple):
    """Waiting tasks of one place that only their due time and arrival tell apart."""

    priority: int
    version: int


class Waiting(NamedTuple):
    """A claimable row in its lane. Numbers are unique, so the id never decides the order."""

    due_at: datetime
    number: int
    id: TaskId


Owned: TypeAlias = tuple[Place, int]
"""The place and version of a running row."""

Lines: TypeAlias = dict[tuple[int, int], LogLine]
"""The lines that the runs of a task have logged, by fence and ordinal."""


@final
class Tables:
    """All that the store holds. Only the holder of the store's lock touches it."""

    def __init__(self) -> None:
        self.rows: dict[TaskId, Row] = {}
        self.ids: list[TaskId] = []
        self.history: dict[TaskId, list[HistoryEvent]] = {}
        self.logs: dict[TaskId, Lines] = {}
        self.leases: dict[str, Lease] = {}
        self.settings: dict[str, QueueSettings] = {}
        self.sharing = Sharing()
        self.family = Family()
        self.schedules: dict[str, ScheduleRow] = {}
        self.events: dict[int, KeptEvent] = {}
        self.event_numbers: dict[tuple[str, str], dict[str, int]] = {}
        self.sendings = 0
        self.awaiting: dict[tuple[str, str], set[TaskId]] = {}
        self.holders: dict[tuple[str, str], TaskId] = {}
        self.arrivals = 0
        self._waiting: dict[Place, dict[Lane, list[Waiting]]] = {}
        self._running: dict[str, dict[Owned, set[TaskId]]] = {}

    def replace(self, id: TaskId, row: Row | None) -> Row | None:
        """Put `row` in the place of whatever `id` has now (None: remove it) and return what was there before."""
        before = self.rows.pop(id, None)
        if before is not None:
            self._leave_indexes(before)
        if row is not None:
            self.rows[id] = row
            self._enter_indexes(row)
        if before is None and row is not None:
            insort(self.ids, id)
        if before is not None and row is None:
            del self.ids[bisect_left(self.ids, id)]
        return before

    def lanes(self, queue: str, names: Mapping[str, int]) -> Iterator[tuple[Lane, list[Waiting]]]:
        """The lanes of `queue` that may be claimed from, given the highest known version of each name."""
        for name, version_max in names.items():
            for lane, waiting in self._waiting.get(Place(queue, name), {}).items():
                if lane.version <= version_max:
                    yield lane, waiting

    def owners(self) -> Iterator[str]:
        """Every executor that owns a running task."""
        yield from self._running

    def owned(self, executor: str) -> Iterator[tuple[Owned, set[TaskId]]]:
        """What `executor` runs, by place and version."""
        yield from self._running.get(executor, {}).items()

    def queues(self, names: Mapping[str, int]) -> set[str]:
        """The queues in which a task of one of `names` waits or runs."""
        waiting = {place.queue for place, lanes in self._waiting.items() if any(_known(place, x, names) for x in lanes)}
        running = {
            place.queue
            for owned in self._running.values()
            for place, version in owned
            if names.get(place.name, version - 1) >= version
        }
        return waiting | running

    def waiting_in(self, queue: str) -> int:
        """How many tasks of `queue` wait for a time or a slot."""
        lanes = (lanes for place, lanes in self._waiting.items() if place.queue == queue)
        return sum(len(waiting) for each in lanes for waiting in each.values())

    def running_in(self, queue: str) -> int:
        """How many tasks of `queue` run."""
        places = (place for owned in self._running.values() for place in owned.items())
        return sum(len(ids) for (place, _), ids in places if place.queue == queue)

    def _enter_indexes(self, row: Row) -> None:
        record = row.record
        place = Place(record.queue, record.name)
        if record.key is not None and record.state.is_live:
            self.holders[record.name, record.key] = record.id
        if record.state is TaskState.RUNNING:
            owned = self._running.setdefault(record.executor or "", {})
            owned.setdefault((place, record.version), set()).add(record.id)
        elif record.due_at is not None:
            lane = self._waiting.setdefault(place, {}).setdefault(Lane(record.priority, record.version), [])
            insort(lane, Waiting(record.due_at, row.number, record.id))
        if record.rate_key is not None or record.concurrency_key is not None:
            self.sharing.enter(record, row.number)
        if record.parent is not None or record.schedule is not None:
            self.family.enter(record)
        if record.awaited_event is not None and record.state is TaskState.SUSPENDED:
            self.awaiting.setdefault(_awaited(record), set()).add(record.id)

    def _leave_indexes(self, row: Row) -> None:
        record = row.record
        place = Place(record.queue, record.name)
        if record.key is not None and record.state.is_live:
            del self.holders[record.name, record.key]
        if record.state is TaskState.RUNNING:
            self._leave_running(record, place)
        elif record.due_at is not None:
            self._leave_waiting(Waiting(record.due_at, row.number, record.id), place, record)
        if record.rate_key is not None or record.concurrency_key is not None:
            self.sharing.leave(record, row.number)
        if record.parent is not None or record.schedule is not None:
            self.family.leave(record)
        if record.awaited_event is not None and record.state is TaskState.SUSPENDED:
            self._leave_awaiting(record)

    def _leave_awaiting(self, record: TaskRecord) -> None:
        ids = self.awaiting[_awaited(record)]
        ids.remove(record.id)
        if not ids:
            del self.awaiting[_awaited(record)]

    def _leave_running(self, record: TaskRecord, place: Place) -> None:
        executor = record.executor or ""
        owned = self._running[executor]
        ids = owned[place, record.version]
        ids.remove(record.id)
        # Emptied branches go, or long-lived stores would keep one for every executor that ever lived.
        if not ids:
            del owned[place, record.version]
        if not owned:
            del self._running[executor]

    def _leave_waiting(self, waiting: Waiting, place: Place, record: TaskRecord) -> None:
        lanes = self._waiting[place]
        lane = Lane(record.priority, record.version)
        rows = lanes[lane]
        del rows[bisect_left(rows, waiting)]
        if not rows:
            del lanes[lane]
        if not lanes:
            del self._waiting[place]


def _awaited(record: TaskRecord) -> tuple[str, str]:
    return record.awaited_event or "", record.awaited_key or ""


def _known(place: Place, lane: Lane, names: Mapping[str, int]) -> bool:
    return place.name in names and lane.version <= names[place.name]
