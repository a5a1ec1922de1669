"""A whole store into another one of any kind: every task as it is, its history, logs and children, its place in the
order of arrival.

All of it is one transaction of the target, which reads back what it wrote and compares before it commits, so a copy
that fails leaves nothing behind. Leases are not copied: an executor belongs to the store that it was started on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from enum import Enum
from functools import partial
from typing import Final, final

import attrs
from attrs import frozen

from milepost.clock import to_micros
from milepost.errors import CopyDiffers, CopyRefused
from milepost.lifecycle.children import Child
from milepost.lifecycle.queues import QueueSettings
from milepost.lifecycle.record import HistoryEvent, TaskRecord
from milepost.schedules.standing import ScheduleState
from milepost.stores.flow_tables import KeptEvent, ScheduleRow, SentEvent
from milepost.stores.protocol import Session, Store, TaskCopy
from milepost.stores.tables import LogLine

_BATCH: Final = 500
_FIELDS: Final = tuple(field.name for field in attrs.fields(TaskRecord))
_SETTINGS: Final = tuple(field.name for field in attrs.fields(QueueSettings))
_SCHEDULE: Final = tuple(field.name for field in attrs.fields(ScheduleRow) if field.name != "state")
_STANDING: Final = tuple(field.name for field in attrs.fields(ScheduleState))
_EVENT: Final = tuple(field.name for field in attrs.fields(SentEvent))
_REALS: Final = frozenset(field.name for field in attrs.fields(TaskRecord) if "float" in str(field.type))


@final
@frozen
class TableSum:
    """How many rows a table has, and a checksum over all of them in order."""

    rows: int
    sha256: str


@final
@frozen
class StoreSum:
    """All that a copy keeps of a store, as sums; two stores that hold the same have the same."""

    tasks: TableSum
    history: TableSum
    logs: TableSum
    children: TableSum
    settings: TableSum
    schedules: TableSum
    events: TableSum


def copy_store(source: Store, target: Store, *, told: Callable[[int], None] = lambda tasks: None) -> StoreSum:
    """Copy everything from `source` into `target`, which must be empty; `told` hears how many tasks were copied so far.

    The source is read as it is at one moment. Raises `CopyRefused` while an executor is alive on either side or when
    the target is not empty, `CopyDiffers` when it gives back something else, `StoreError` for faults of either.
    """
    if source is target:
        raise CopyRefused("a store cannot be copied into itself; name another target")

    return target.transact_blocking(partial(_copy, source, target, told), alone=True)


def sum_of(session: Session) -> StoreSum:
    """The sums of what the session's store holds."""
    summing = _Summing()
    for copies in _batches(session):
        summing.add(copies)
    summing.settings.add(map(_settings_row, session.settings.all()))
    summing.schedules.add(map(_schedule_row, session.schedules.all()))
    for kept in _events(session):
        summing.events.add([_event_row(kept)])
    return summing.result()


def _copy(source: Store, target: Store, told: Callable[[int], None], writing: Session) -> StoreSum:
    _refuse_alive(writing, target)
    if writing.copy_out(0, limit=1):
        raise CopyRefused(f"{target.url} has tasks already; copy into an empty store")
    if writing.settings.all():
        raise CopyRefused(f"{target.url} has settings of queues already; copy into an empty store")
    if writing.schedules.all():
        raise CopyRefused(f"{target.url} has schedules already; copy into an empty store")
    if writing.events.copy_out(0, limit=1):
        raise CopyRefused(f"{target.url} has named events already; copy into an empty store")
    read = source.read_blocking(partial(_copy_from, source, told, writing))
    # The source is let go before what was written is read back: a database ends transactions that do nothing for long.
    written = sum_of(writing)
    if written != read:
        raise CopyDiffers(
            f"{target.url} gives back {_told(written)} where {source.url} has {_told(read)}; nothing was kept of it"
        )
    source.read_blocking(partial(_refuse_alive, store=source))  # whoever came meanwhile works on what is left behind
    return written


def _copy_from(source: Store, told: Callable[[int], None], writing: Session, reading: Session) -> StoreSum:
    _refuse_alive(reading, source)
    summing = _Summing()
    for copies in _batches(reading):
        writing.copy_in(copies)
        summing.add(copies)
        told(summing.tasks.rows)
    for settings in reading.settings.all():
        writing.settings.put(settings)
        summing.settings.add([_settings_row(settings)])
    for row in reading.schedules.all():
        writing.schedules.insert(row)
        summing.schedules.add([_schedule_row(row)])
    for kept in _events(reading):
        writing.events.keep(kept.event, delivered_at=kept.delivered_at)
        summing.events.add([_event_row(kept)])
    return summing.result()


def _batches(session: Session) -> Iterator[list[TaskCopy]]:
    after = 0
    while copies := session.copy_out(after, limit=_BATCH):
        yield copies
        after = copies[-1].number


def _events(session: Session) -> Iterator[KeptEvent]:
    after = 0
    while page := session.events.copy_out(after, limit=_BATCH):
        yield from page
        after = page[-1].number


def _refuse_alive(session: Session, store: Store) -> None:
    now = session.now()
    alive = [f"{lease.executor} on {lease.host}" for lease in session.leases() if lease.is_alive(now)]
    if alive:
        raise CopyRefused(
            f"{len(alive)} executor(s) still work on {store.url} ({', '.join(alive[:3])}); stop them, or wait for the "
            "leases of killed ones to run out"
        )


@final
class _Sum:
    def __init__(self) -> None:
        self.rows = 0
        self._hash = hashlib.sha256()

    def add(self, rows: Iterable[object]) -> None:
        for row in rows:
            self.rows += 1
            self._hash.update(repr(row).encode("utf-8", "surrogatepass"))

    def result(self) -> TableSum:
        return TableSum(self.rows, self._hash.hexdigest())


@final
class _Summing:
    """The sums of tasks that come batch by batch."""

    def __init__(self) -> None:
        self.tasks = _Sum()
        self._history = _Sum()
        self._logs = _Sum()
        self._children = _Sum()
        self.settings = _Sum()
        self.schedules = _Sum()
        self.events = _Sum()

    def add(self, copies: Iterable[TaskCopy]) -> None:
        for copy in copies:
            self.tasks.add([_task_row(copy.record)])
            self._history.add(_history_row(copy.record, line) for line in copy.history)
            self._logs.add(map(_log_row, copy.logs))
            self._children.add(_child_row(copy.record, child) for child in copy.children)

    def result(self) -> StoreSum:
        of_tasks = (self.tasks, self._history, self._logs, self._children)
        tables = (*of_tasks, self.settings, self.schedules, self.events)
        return StoreSum(*(table.result() for table in tables))


def _task_row(record: TaskRecord) -> tuple[object, ...]:
    return tuple(_plain(name, getattr(record, name)) for name in _FIELDS)


def _history_row(record: TaskRecord, line: HistoryEvent) -> tuple[object, ...]:
    at, kind, state = to_micros(line.at), line.kind.value, line.state.value
    return (record.id, at, kind, state, line.attempt, line.executor, line.reason, line.by)


def _settings_row(settings: QueueSettings) -> tuple[object, ...]:
    return tuple(_plain(name, getattr(settings, name)) for name in _SETTINGS)


def _schedule_row(row: ScheduleRow) -> tuple[object, ...]:
    standing = tuple(_plain(name, getattr(row.state, name)) for name in _STANDING)
    return (*(_plain(name, getattr(row, name)) for name in _SCHEDULE), *standing)


def _event_row(kept: KeptEvent) -> tuple[object, ...]:
    return (*(_plain(name, getattr(kept.event, name)) for name in _EVENT), _plain("", kept.delivered_at))


def _log_row(line: LogLine) -> tuple[object, ...]:
    return (line.task, line.fence, line.ordinal, to_micros(line.at), line.level, line.logger, line.message)


def _child_row(parent: TaskRecord, child: Child) -> tuple[object, ...]:
    end = (_plain("", child.state), child.result_json, child.error_json, child.crash)
    return (parent.id, child.task, child.name, child.version, *end)


def _plain(name: str, value: object) -> object:
    """The value, in one form whatever the store: databases have other types for times and for whole reals."""
    match value:
        case datetime():
            return to_micros(value)
        case Enum():
            return value.value
        case int() if name in _REALS:
            return float(value)
        case _:
            return value


def _told(sums: StoreSum) -> str:
    each = (
        (sums.tasks, "tasks"),
        (sums.history, "lines of history"),
        (sums.logs, "log lines"),
        (sums.children, "awaited children"),
        (sums.settings, "queues with settings"),
        (sums.schedules, "schedules"),
        (sums.events, "named events"),
    )
    return ", ".join(f"{table.rows} {what} (sha256 {table.sha256[:12]})" for table, what in each)
