"""The memory store's verbs: one open transaction over the tables, with an undo log and the hints it will give."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from heapq import merge, nsmallest
from itertools import chain, groupby, islice
from secrets import token_hex
from typing import Any, Final, NoReturn, final

import attrs

from milepost.effects import Parameters, Transaction
from milepost.errors import StoreError, StoreReadOnly
from milepost.lifecycle.change import Transition, enqueued_history
from milepost.lifecycle.events import Claimed
from milepost.lifecycle.queues import QueueSettings
from milepost.lifecycle.record import HistoryEvent, TaskId, TaskRecord, Version
from milepost.lifecycle.states import TaskState
from milepost.lifecycle.transition import transition
from milepost.stores.filter import TaskFilter, TaskOrder
from milepost.stores.memory.ends import MemoryEnds
from milepost.stores.memory.events import MemoryEvents
from milepost.stores.memory.joins import MemoryJoins
from milepost.stores.memory.limits import MemoryLimits
from milepost.stores.memory.logs import MemoryLogs
from milepost.stores.memory.matching import matcher
from milepost.stores.memory.schedules import MemorySchedules
from milepost.stores.memory.settings import MemoryQueueTable
from milepost.stores.memory.tables import Row, Tables, Waiting
from milepost.stores.protocol import ClaimOrder, Held, Hint, Lease, Report, TaskCopy, hints_of


@final
class MemoryTransaction:
    """What user code sees of a transaction without SQL."""

    @property
    def connection(self) -> None:
        """There is no driver, so there is no connection."""
        return

    def execute(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """Refuse: there is no SQL here."""
        raise StoreError(f"the memory store has no SQL, so it cannot run {sql!r}; use a SQLite or PostgreSQL store")


@final
class MemorySession:
    """One open transaction. Every change goes through `_put` and its like, which note how to undo it."""

    def __init__(self, tables: Tables, clock: Callable[[], datetime], *, writable: bool) -> None:
        self._open_tables: Tables | None = tables
        self._clock = clock
        self._writable = writable
        self._undo: list[Callable[[], object]] = []
        self.transaction: Final[Transaction] = MemoryTransaction()
        self.hints = Hint(0)

    def roll_back(self) -> None:
        """Undo every change, the last one first."""
        while self._undo:
            self._undo.pop()()
        self.hints = Hint(0)

    def end(self) -> None:
        """Refuse every later verb: a session that outlives its transaction would read and write without the lock."""
        self._open_tables = None

    @property
    def logs(self) -> MemoryLogs:
        return MemoryLogs(lambda: self._tables, self._change)

    @property
    def ends(self) -> MemoryEnds:
        return MemoryEnds(lambda: self._tables, self.delete)

    @property
    def settings(self) -> MemoryQueueTable:
        return MemoryQueueTable(self._tables, change=self._change, hint=self._hint)

    @property
    def limits(self) -> MemoryLimits:
        return MemoryLimits(self._tables, self._change)

    @property
    def joins(self) -> MemoryJoins:
        return MemoryJoins(self._tables, self._change)

    @property
    def schedules(self) -> MemorySchedules:
        return MemorySchedules(self._tables, change=self._change, hint=self._hint)

    @property
    def events(self) -> MemoryEvents:
        return MemoryEvents(self._tables, self._change)

    def now(self) -> datetime:
        return self._clock()

    def insert(self, records: Iterable[TaskRecord]) -> None:
        tables = self._tables
        for record in records:
            if record.id in tables.rows:
                raise StoreError(f"there is a task {record.id} already; each insert needs an id of its own")
            tables.arrivals += 1
            self._put(record, tables.arrivals)
            self.hints |= hints_of(record)

    def insert_unbounded(self, records: Sequence[TaskRecord]) -> bool:
        settings = self._tables.settings
        if any(record.queue in settings and settings[record.queue].capacity is not None for record in records):
            return False
        self.insert(records)
        return True

    def holders(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], TaskRecord]:
        held = self._tables.holders
        return {key: self._tables.rows[held[key]].record for key in keys if key in held}

    def claim(self, order: ClaimOrder, *, now: datetime) -> list[TaskRecord]:
        settings = self._tables.settings.get(order.queue)
        if settings is not None and order.is_shut_out_by(settings):
            return []
        due = list(islice(self._due(order, now), max(0, order.fresh_limit)))
        expired_max = 0 if order.limit == 1 and due else (order.limit + 1) // 2
        expired = self._expired(order, now, expired_max)
        return [self._claim(row, order.executor, now) for row in chain(expired, due[: order.limit - len(expired)])]

    def queues(self, names: Mapping[str, int]) -> list[str]:
        settings = self._tables.settings
        return [name for name in sorted(self._tables.queues(names)) if not _is_paused(settings, name)]

    def next_due(self, names: Mapping[str, int], queues: Sequence[str]) -> datetime | None:
        open_queues = (queue for queue in queues if not _is_paused(self._tables.settings, queue))
        lanes = (waiting for queue in open_queues for _, waiting in self._tables.lanes(queue, names))
        return min((waiting[0].due_at for waiting in lanes), default=None)

    def write(self, transitions: Sequence[Transition]) -> list[bool]:
        return [self._write(decided) for decided in transitions]

    def report(self, reports: Sequence[Report]) -> None:
        for report in reports:
            row = self._tables.rows.get(report.id)
            if row is None or row.record.state is not TaskState.RUNNING or row.record.token != report.token:
                continue
            after = attrs.evolve(row.record, progress=report.fraction, progress_note=report.note)
            self._put(after, row.number)

    def get(self, ids: Sequence[TaskId]) -> list[TaskRecord]:
        rows = self._tables.rows
        return [rows[id].record for id in ids if id in rows]

    def search(self, wanted: TaskFilter, *, limit: int) -> list[TaskRecord]:
        matches = matcher(wanted)
        return list(islice(filter(matches, self._records(wanted)), max(0, limit)))

    def count(self, wanted: TaskFilter) -> int:
        matches = matcher(wanted)
        return sum(matches(row.record) for row in self._tables.rows.values())

    def ids(self, wanted: TaskFilter) -> list[TaskId]:
        return [record.id for record in self.search(wanted, limit=len(self._tables.ids))]

    def history(self, id: TaskId) -> list[HistoryEvent]:
        row = self._tables.rows.get(id)
        if row is None:
            return []
        return [*enqueued_history(row.record), *self._tables.history.get(id, ())]

    def delete(self, ids: Sequence[TaskId]) -> int:
        tables = self._tables
        deleted = 0
        for id in ids:
            row = tables.rows.get(id)
            if row is None or row.record.state is TaskState.RUNNING or row.record.is_awaited:
                continue
            self._change(partial(tables.replace, id, row))
            tables.replace(id, None)
            events = tables.history.pop(id, None)
            if events is not None:
                self._change(partial(tables.history.__setitem__, id, events))
            self.logs.forget(id)
            self.joins.restore(id, ())
            self.hints |= Hint.FINAL
            deleted += 1
        return deleted

    def copy_out(self, after: int, *, limit: int) -> list[TaskCopy]:
        tables = self._tables
        following = (row for row in tables.rows.values() if row.number > after)
        rows = nsmallest(max(0, limit), following, key=lambda row: row.number)
        return [
            TaskCopy(
                number,
                record,
                tuple(tables.history.get(record.id, ())),
                tuple(self.logs.of(record.id, limit=len(tables.logs.get(record.id, ())))),
                tuple(tables.family.children(record.id)),
            )
            for number, record in rows
        ]

    def copy_in(self, copies: Sequence[TaskCopy]) -> None:
        self.insert(copy.record for copy in copies)
        for copy in copies:
            self._put_history(copy.record.id, copy.history)
            self.logs.restore(copy.logs)
            self.joins.restore(copy.record.id, copy.children)

    def open_lease(self, lease: Lease) -> None:
        self._put_lease(lease.executor, lease)

    def renew(self, executor: str, *, now: datetime, lease_until: datetime, running: int) -> bool:
        lease = self._tables.leases.get(executor)
        if lease is None:
            return False
        self._put_lease(executor, attrs.evolve(lease, renewed_at=now, lease_until=lease_until, running=running))
        return True

    def close_lease(self, executor: str) -> None:
        self._put_lease(executor, None)

    def leases(self) -> list[Lease]:
        leases = self._tables.leases
        return [leases[executor] for executor in sorted(leases)]

    def held(self, executor: str) -> list[Held]:
        tables = self._tables
        ids = sorted(chain.from_iterable(ids for _, ids in tables.owned(executor)))
        return [_held(tables.rows[id].record) for id in ids]

    def cancel_requests(self, executor: str) -> list[Held]:
        return [held for held in self.held(executor) if held.cancel_reason is not None]

    @property
    def _tables(self) -> Tables:
        if self._open_tables is None:
            raise StoreError("this session's transaction has ended; use a session only inside its function")
        return self._open_tables

    def _due(self, order: ClaimOrder, now: datetime) -> Iterator[Row]:
        lanes = sorted(self._tables.lanes(order.queue, order.names), key=lambda lane: -lane[0].priority)
        for _, same_priority in groupby(lanes, key=lambda lane: lane[0].priority):
            due = (_until(waiting, now) for _, waiting in same_priority)
            yield from (self._tables.rows[waiting.id] for waiting in merge(*due))

    def _expired(self, order: ClaimOrder, now: datetime, limit: int) -> list[Row]:
        tables = self._tables
        ids = chain.from_iterable(
            ids
            for executor in tables.owners()
            if _is_expired(tables.leases.get(executor), now)
            for (place, version), ids in tables.owned(executor)
            if place.queue == order.queue and version <= order.names.get(place.name, version - 1)
        )
        return nsmallest(limit, (tables.rows[id] for id in ids), key=lambda row: row.number)

    def _claim(self, row: Row, executor: str, now: datetime) -> TaskRecord:
        decided = transition(row.record, Claimed(executor, token_hex(16)), now=now)
        if not isinstance(decided, Transition):
            raise StoreError(f"the task {row.record.id} was indexed as claimable and is not: {decided}")
        self._apply(decided, row.number)
        return decided.after

    def _write(self, decided: Transition) -> bool:
        row = self._tables.rows.get(decided.before.id)
        if row is None or Version.of(row.record) != Version.of(decided.before):
            return False
        self._apply(attrs.evolve(decided, after=_with_report(decided, row.record)), row.number)
        return True

    def _apply(self, decided: Transition, number: int) -> None:
        self._put(decided.after, number)
        self.hints |= hints_of(decided.after)
        self._put_history(decided.after.id, decided.history)

    def _put_history(self, id: TaskId, lines: Sequence[HistoryEvent]) -> None:
        if lines:
            events = self._tables.history.setdefault(id, [])
            self._change(partial(_cut, events, len(events)))
            events.extend(lines)

    def _put(self, record: TaskRecord, number: int) -> None:
        tables = self._tables
        if record.key is not None and record.state.is_live:
            holder = tables.holders.get((record.name, record.key), record.id)
            if holder != record.id:
                raise StoreError(f"the key {record.key!r} of {record.name!r} is held by the live task {holder}")
        if record.id not in tables.rows and (taken_by := tables.family.holder(record)) is not None:
            raise StoreError(f"the task {taken_by} has the place of {record.id} with its parent or schedule already")
        self._change(partial(tables.replace, record.id, tables.rows.get(record.id)))
        tables.replace(record.id, Row(number, record))

    def _put_lease(self, executor: str, lease: Lease | None) -> None:
        leases = self._tables.leases
        before = leases.get(executor)
        self._change(partial(_set, leases, executor, before))
        _set(leases, executor, lease)

    def _hint(self, hints: Hint) -> None:
        self.hints |= hints

    def _change(self, undo: Callable[[], object]) -> None:
        if not self._writable:
            _refuse_write()
        self._undo.append(undo)

    def _records(self, wanted: TaskFilter) -> Iterator[TaskRecord]:
        tables = self._tables
        ids, cursor = tables.ids, wanted.cursor
        if wanted.order is TaskOrder.OLDEST_FIRST:
            positions = range(0 if cursor is None else bisect_right(ids, cursor), len(ids))
        else:
            positions = range((len(ids) if cursor is None else bisect_left(ids, cursor)) - 1, -1, -1)
        return (tables.rows[ids[position]].record for position in positions)


def _refuse_write() -> NoReturn:
    raise StoreReadOnly("a reading transaction cannot change anything; use transact instead of read")


def _until(waiting: list[Waiting], now: datetime) -> Iterator[Waiting]:
    for row in waiting:
        if row.due_at > now:
            return
        yield row


def _is_paused(settings: Mapping[str, QueueSettings], queue: str) -> bool:
    return queue in settings and settings[queue].is_paused


def _is_expired(lease: Lease | None, now: datetime) -> bool:
    return lease is None or not lease.is_alive(now)


def _held(record: TaskRecord) -> Held:
    return Held(record.id, record.fence, record.token or "", record.cancel_reason)


def _cut(events: list[HistoryEvent], length: int) -> None:
    del events[length:]


def _set(leases: dict[str, Lease], executor: str, lease: Lease | None) -> None:
    if lease is None:
        leases.pop(executor, None)
    else:
        leases[executor] = lease


def _with_report(decided: Transition, current: TaskRecord) -> TaskRecord:
    """What a transition makes of the record, with what was reported since the decision unless that resets reports."""
    after = decided.after
    if decided.resets_progress:
        return after
    return after.changed({"progress": current.progress, "progress_note": current.progress_note})
