"""Records as rows and back. What is read is listed in `RECORD`, in the order in which `record_of` takes it.

A damaged field must not break the listing it stands in: it is shown as well as can be, never raised.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter, itemgetter
from types import MappingProxyType
from typing import Any, Final, TypeAlias, cast

from milepost.crash import Crash
from milepost.lifecycle.record import Audit, HistoryEvent, HistoryKind, TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.payload import from_json_text
from milepost.stores.postgres.arrays import Literal, moments, numbers, texts
from milepost.stores.protocol import Lease

Row: TypeAlias = tuple[Any, ...]
Values: TypeAlias = tuple[object, ...]
_Getter: TypeAlias = Callable[[dict[str, Any]], Row]

_STATES: Final = MappingProxyType({state.value: state for state in TaskState})
_AUDITS: Final = MappingProxyType({audit.value: audit for audit in Audit})
_KINDS: Final = MappingProxyType({kind.value: kind for kind in HistoryKind})

text_of: Final = attrgetter("_value_")
"""An enum's text. Its own `value` costs several look-ups, and every write reads a few."""

# What any new task says for itself, and how a column of it is written. The order is that of `insert.sql`.
_FRESH: Final[Mapping[str, Literal]] = MappingProxyType(
    {
        "id": texts,
        "name": texts,
        "version": numbers,
        "queue": texts,
        "priority": numbers,
        "key": texts,
        "correlation": texts,
        "audit": texts,
        "due_at": moments,
        "created_at": moments,
        "deadline_seconds": numbers,
        "deadline_at": moments,
        "metadata_json": texts,
        "execution_metadata_json": texts,
        "initial_execution_metadata_json": texts,
    }
)
# What only a task with a past says for itself, and what a new one has there.
_PAST: Final[Mapping[str, tuple[Literal, object]]] = MappingProxyType(
    {
        "state": (texts, TaskState.PENDING),
        "fence": (numbers, 0),
        "token": (texts, None),
        "executor": (texts, None),
        "revision": (numbers, 0),
        "sequence": (numbers, 0),
        "epoch": (numbers, 1),
        "failures": (numbers, 0),
        "stalls": (numbers, 0),
        "interruptions": (numbers, 0),
        "cancel_requested_at": (moments, None),
        "cancel_reason": (texts, None),
        "progress": (numbers, None),
        "progress_note": (texts, ""),
        "started_at": (moments, None),
        "finished_at": (moments, None),
        "result_json": (texts, None),
        "error_json": (texts, None),
        "crash": (texts, None),
    }
)
FRESH: Final = tuple(_FRESH)
WHOLE: Final = (*_FRESH, *_PAST)
RECORD: Final = ", ".join(f"task.{name}" for name in WHOLE)

_fresh: Final[_Getter] = cast("_Getter", itemgetter(*FRESH))
_past: Final[_Getter] = cast("_Getter", itemgetter(*_PAST))
_NO_PAST: Final = tuple(usual for _, usual in _PAST.values())


# Records are made field by field: it is quicker than with `zip`, and every task comes through here several times.


def record_of(row: Row) -> TaskRecord:
    """The record in a row of `RECORD`."""
    return TaskRecord.restored(
        {
            "id": row[0],
            "name": row[1],
            "version": row[2],
            "queue": row[3],
            "priority": row[4],
            "key": row[5],
            "correlation": row[6],
            "audit": _AUDITS[row[7]],
            "due_at": row[8],
            "created_at": row[9],
            "deadline_seconds": row[10],
            "deadline_at": row[11],
            "metadata_json": row[12],
            "execution_metadata_json": row[13],
            "initial_execution_metadata_json": row[14],
            "state": _STATES[row[15]],
            "fence": row[16],
            "token": row[17],
            "executor": row[18],
            "revision": row[19],
            "sequence": row[20],
            "epoch": row[21],
            "failures": row[22],
            "stalls": row[23],
            "interruptions": row[24],
            "cancel_requested_at": row[25],
            "cancel_reason": row[26],
            "progress": row[27],
            "progress_note": row[28],
            "started_at": row[29],
            "finished_at": row[30],
            "result_json": row[31],
            "error_json": row[32],
            "crash": None if row[33] is None else Crash.from_json_text(row[33]),
        }
    )


def are_fresh(records: Sequence[TaskRecord]) -> bool:
    """Whether none of them has a past: then less than half of the columns need to be told."""
    return all(_past(record.__dict__) == _NO_PAST for record in records)


def fresh_values(record: TaskRecord) -> Row:
    """The columns of `FRESH`."""
    values = list(_fresh(record.__dict__))
    values[7] = values[7].value
    return tuple(values)


def whole_values(record: TaskRecord) -> Row:
    """The columns of `WHOLE`."""
    state, *past, crash = _past(record.__dict__)
    return (*fresh_values(record), state.value, *past, None if crash is None else crash.to_json_text())


def fresh_arrays(records: Sequence[TaskRecord]) -> list[str]:
    """What `insert.sql` wants."""
    columns = zip(*map(fresh_values, records), strict=True)
    return [write(column) for write, column in zip(_FRESH.values(), columns, strict=True)]


def event_of(row: Row) -> HistoryEvent:
    """A line of history."""
    at, kind, state, attempt, executor, reason = row
    return HistoryEvent(at, _KINDS[kind], _STATES[state], attempt, executor, reason)


def lease_values(lease: Lease) -> Values:
    """What `open_lease.sql` wants."""
    queues = None if lease.queues is None else texts(lease.queues)
    return (
        lease.executor,
        lease.host,
        lease.pid,
        lease.started_at,
        lease.renewed_at,
        lease.lease_until,
        lease.slots,
        lease.running,
        json.dumps(dict(lease.tasks)),
        queues,
    )


def lease_of(row: Row) -> Lease:
    """An executor's lease."""
    executor, host, pid, started_at, renewed_at, lease_until, slots, running, tasks, queues = row
    known = cast("dict[str, int]", from_json_text(tasks).value_or(None) or {})
    served = None if queues is None else tuple(queues)
    return Lease(executor, host, pid, started_at, renewed_at, lease_until, slots, running, known, served)
