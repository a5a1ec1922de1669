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
from milepost.lifecycle.record import Audit, HistoryEvent, TaskRecord
from milepost.lifecycle.states import LimitKind, TaskState
from milepost.lifecycle.terms import Terms
from milepost.lifecycle.ties import Join, Tie
from milepost.stores.damaged import history_event, known_tasks
from milepost.stores.postgres.arrays import Literal, moments, numbers, texts
from milepost.stores.protocol import Lease

Row: TypeAlias = tuple[Any, ...]
Values: TypeAlias = tuple[object, ...]
_Getter: TypeAlias = Callable[[dict[str, Any]], Row]

_STATES: Final = MappingProxyType({state.value: state for state in TaskState})
_AUDITS: Final = MappingProxyType({audit.value: audit for audit in Audit})
_LIMITS: Final = MappingProxyType({limit.value: limit for limit in LimitKind})
_JOINS: Final = MappingProxyType({join.value: join for join in Join})
_TIES: Final = MappingProxyType({bits: Tie(bits) for bits in range((~Tie.NONE).value + 1)})

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
        "start_by": moments,
        "rate_key": texts,
        "concurrency_key": texts,
    }
)
# How most tasks are tied to others: not at all, as a record says it and as a row does.
_UNTIED: Final[MappingProxyType[str, object]] = MappingProxyType(
    {
        "parent": None,
        "parent_position": None,
        "schedule": None,
        "schedule_at": None,
        "ties": Tie.NONE,
        "join": None,
        "awaited_event": None,
        "awaited_key": None,
        "received_json": None,
    }
)
_UNTIED_ROW: Final = (None, None, None, None, 0, None, None, None, None)
# What only a task with a past, or with ties, says for itself, and what a new one has there.
_PAST: Final[Mapping[str, object]] = MappingProxyType(
    {
        "state": TaskState.PENDING,
        "fence": 0,
        "token": None,
        "executor": None,
        "revision": 0,
        "sequence": 0,
        "epoch": 1,
        "failures": 0,
        "stalls": 0,
        "interruptions": 0,
        "cancel_requested_at": None,
        "cancel_reason": None,
        "progress": None,
        "progress_note": "",
        "started_at": None,
        "finished_at": None,
        "result_json": None,
        "error_json": None,
        "early_proceed_at": None,
        "limited_by": None,
        "slot_at": None,
        "crash": None,
        **_UNTIED,
    }
)
_COLUMNS: Final = MappingProxyType({"join": "join_mode"})  # a word that SQL has for itself
FRESH: Final = tuple(_FRESH)
WHOLE: Final = (*_FRESH, *(_COLUMNS.get(name, name) for name in _PAST))
RECORD: Final = ", ".join(f"task.{name}" for name in WHOLE)

_fresh: Final[_Getter] = cast("_Getter", itemgetter(*FRESH))
_past: Final[_Getter] = cast("_Getter", itemgetter(*_PAST))
_STATE, _TIED, _LIMITED_BY, _JOIN, _CRASH = map(tuple(_PAST).index, ("state", "ties", "limited_by", "join", "crash"))
_NO_PAST: Final = tuple(_PAST.values())


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
            "start_by": row[15],
            "rate_key": row[16],
            "concurrency_key": row[17],
            "state": _STATES[row[18]],
            "fence": row[19],
            "token": row[20],
            "executor": row[21],
            "revision": row[22],
            "sequence": row[23],
            "epoch": row[24],
            "failures": row[25],
            "stalls": row[26],
            "interruptions": row[27],
            "cancel_requested_at": row[28],
            "cancel_reason": row[29],
            "progress": row[30],
            "progress_note": row[31],
            "started_at": row[32],
            "finished_at": row[33],
            "result_json": row[34],
            "error_json": row[35],
            "early_proceed_at": row[36],
            "limited_by": None if row[37] is None else _LIMITS.get(row[37]),
            "slot_at": row[38],
            "crash": None if row[39] is None else Crash.from_json_text(row[39]),
            **_ties_of(row),
        }
    )


def _ties_of(row: Row) -> dict[str, object]:
    """How the task in a whole row is tied to others; few are, so that this is mostly one comparison."""
    if row[40:49] == _UNTIED_ROW:
        return _UNTIED.copy()
    return {
        "parent": row[40],
        "parent_position": row[41],
        "schedule": row[42],
        "schedule_at": row[43],
        "ties": _TIES.get(row[44], Tie.NONE),
        "join": None if row[45] is None else _JOINS.get(row[45]),
        "awaited_event": row[46],
        "awaited_key": row[47],
        "received_json": row[48],
    }


def are_fresh(records: Sequence[TaskRecord]) -> bool:
    """Whether none of them has a past or ties: then less than half of the columns need to be told."""
    return all(_past(record.__dict__) == _NO_PAST for record in records)


def fresh_values(record: TaskRecord) -> Row:
    """The columns of `FRESH`."""
    values = list(_fresh(record.__dict__))
    values[7] = values[7].value
    return tuple(values)


def whole_values(record: TaskRecord) -> Row:
    """The columns of `WHOLE`."""
    past = list(_past(record.__dict__))
    past[_STATE], past[_TIED] = record.state.value, record.ties.value
    past[_LIMITED_BY] = None if record.limited_by is None else record.limited_by.value
    past[_JOIN] = None if record.join is None else record.join.value
    past[_CRASH] = None if record.crash is None else record.crash.to_json_text()
    return (*fresh_values(record), *past)


def fresh_arrays(records: Sequence[TaskRecord]) -> list[str]:
    """What `insert.sql` wants."""
    columns = zip(*map(fresh_values, records), strict=True)
    return [write(column) for write, column in zip(_FRESH.values(), columns, strict=True)]


def event_of(row: Row) -> HistoryEvent:
    """A line of history."""
    at, kind, state, attempt, executor, reason, by = row
    return history_event(at, kind, state, attempt, executor, reason, by)


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
        lease.terms.to_json_text(),
    )


def lease_of(row: Row) -> Lease:
    """An executor's lease."""
    executor, host, pid, started_at, renewed_at, lease_until, slots, running, tasks, queues, terms = row
    known, told = known_tasks(tasks), Terms.from_json_text(terms)
    served = None if queues is None else tuple(queues)
    return Lease(executor, host, pid, started_at, renewed_at, lease_until, slots, running, known, served, told)
