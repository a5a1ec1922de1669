"""Records as rows and back. The order of columns is that of `migrations`.

A damaged field must not break the listing it stands in: it is shown as well as can be, never raised.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import attrgetter, itemgetter
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from milepost.clock import EPOCH, to_micros
from milepost.crash import Crash
from milepost.lifecycle.change import Transition
from milepost.lifecycle.record import Audit, HistoryEvent, TaskRecord
from milepost.lifecycle.states import LimitKind, TaskState
from milepost.lifecycle.terms import Terms
from milepost.lifecycle.ties import Join, Tie
from milepost.stores.damaged import history_event, known_tasks, served_queues
from milepost.stores.protocol import Lease
from milepost.stores.sqlite.driver import Row

Values: TypeAlias = tuple[object, ...]

_STATES: Final = MappingProxyType({state.value: state for state in TaskState})
_AUDITS: Final = MappingProxyType({audit.value: audit for audit in Audit})
_LIMITS: Final = MappingProxyType({limit.value: limit for limit in LimitKind})
_JOINS: Final = MappingProxyType({join.value: join for join in Join})
_TIES: Final = MappingProxyType({bits: Tie(bits) for bits in range((~Tie.NONE).value + 1)})

_MOMENTS_KEPT: Final = 256  # what was enqueued or claimed together has one in common

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
_NO_TIES: Final = tuple(_UNTIED.values())
_UNTIED_ROW: Final = (None, None, None, None, 0, None, None, None, None)
_tied: Final[Callable[[dict[str, Any]], tuple[object, ...]]] = itemgetter(*_UNTIED)

_text: Final = attrgetter("_value_")  # an enum's own `value` costs several look-ups, and every write reads a few


# Rows are read and made field by field: it is twice as quick as with `zip` or a long `attrgetter`, and every task comes
# through here several times.


def record_of(row: Row) -> TaskRecord:
    """The record in a whole row of `milepost_task`."""
    return TaskRecord.restored(
        {
            "id": row[1],
            "name": row[2],
            "version": row[3],
            "queue": row[4],
            "priority": row[5],
            "key": row[6],
            "correlation": row[7],
            "audit": _AUDITS[row[8]],
            "state": _STATES[row[9]],
            "due_at": None if row[10] is None else _moment(row[10]),
            "fence": row[11],
            "token": row[12],
            "executor": row[13],
            "revision": row[14],
            "sequence": row[15],
            "epoch": row[16],
            "failures": row[17],
            "stalls": row[18],
            "interruptions": row[19],
            "created_at": _moment(row[20]),
            "started_at": None if row[21] is None else _moment(row[21]),
            "finished_at": None if row[22] is None else _moment(row[22]),
            "deadline_seconds": row[23],
            "deadline_at": None if row[24] is None else _moment(row[24]),
            "cancel_requested_at": None if row[25] is None else _moment(row[25]),
            "cancel_reason": row[26],
            "progress": row[27],
            "progress_note": row[28],
            "metadata_json": row[29],
            "execution_metadata_json": row[30],
            "initial_execution_metadata_json": row[31],
            "result_json": row[32],
            "error_json": row[33],
            "crash": None if row[34] is None else Crash.from_json_text(row[34]),
            "early_proceed_at": None if row[35] is None else _moment(row[35]),
            "start_by": None if row[36] is None else _moment(row[36]),
            "rate_key": row[37],
            "concurrency_key": row[38],
            "limited_by": None if row[39] is None else _LIMITS.get(row[39]),
            "slot_at": None if row[40] is None else _moment(row[40]),
            **_ties_of(row),
        }
    )


def _ties_of(row: Row) -> dict[str, object]:
    """How the task in a whole row is tied to others; few are, so that this is mostly one comparison."""
    if row[41:50] == _UNTIED_ROW:
        return _UNTIED.copy()
    return {
        "parent": row[41],
        "parent_position": row[42],
        "schedule": row[43],
        "schedule_at": None if row[44] is None else _moment(row[44]),
        "ties": _TIES.get(row[45], Tie.NONE),
        "join": None if row[46] is None else _JOINS.get(row[46]),
        "awaited_event": row[47],
        "awaited_key": row[48],
        "received_json": row[49],
    }


def is_tied(record: TaskRecord) -> bool:
    """Whether `write_ties.sql` has something to write for a new task."""
    return _tied(record.__dict__) != _NO_TIES


def ties_values(record: TaskRecord) -> Values:
    """What `write_ties.sql` wants."""
    return (
        record.parent,
        record.parent_position,
        record.schedule,
        None if record.schedule_at is None else to_micros(record.schedule_at),
        record.ties.value,
        None if record.join is None else _text(record.join),
        record.awaited_event,
        record.awaited_key,
        record.received_json,
        record.id,
    )


def insert_values(record: TaskRecord) -> Values:
    """What `insert.sql` wants."""
    created_at, due_at = record.created_at, record.due_at
    created = to_micros(created_at)
    return (
        record.id,
        record.name,
        record.version,
        record.queue,
        record.priority,
        record.key,
        record.correlation,
        record.fence,
        record.token,
        record.executor,
        record.revision,
        record.sequence,
        record.epoch,
        record.failures,
        record.stalls,
        record.interruptions,
        record.deadline_seconds,
        record.cancel_reason,
        record.progress,
        record.progress_note,
        record.metadata_json,
        record.execution_metadata_json,
        record.initial_execution_metadata_json,
        record.result_json,
        record.error_json,
        _text(record.audit),
        _text(record.state),
        created,
        created if due_at is created_at else None if due_at is None else to_micros(due_at),
        None if record.started_at is None else to_micros(record.started_at),
        None if record.finished_at is None else to_micros(record.finished_at),
        None if record.deadline_at is None else to_micros(record.deadline_at),
        None if record.cancel_requested_at is None else to_micros(record.cancel_requested_at),
        None if record.crash is None else record.crash.to_json_text(),
        None if record.early_proceed_at is None else to_micros(record.early_proceed_at),
        None if record.start_by is None else to_micros(record.start_by),
        record.rate_key,
        record.concurrency_key,
        None if record.limited_by is None else _text(record.limited_by),
        None if record.slot_at is None else to_micros(record.slot_at),
    )


def write_values(decided: Transition) -> Values:
    """What `write.sql` wants: what a transition may change, and the version that it was decided on."""
    before, after = decided.before, decided.after
    return (
        after.fence,
        after.token,
        after.executor,
        after.revision,
        after.sequence,
        after.epoch,
        after.failures,
        after.stalls,
        after.interruptions,
        after.cancel_reason,
        after.execution_metadata_json,
        after.result_json,
        after.error_json,
        _text(after.state),
        None if after.due_at is None else to_micros(after.due_at),
        None if after.started_at is None else to_micros(after.started_at),
        None if after.finished_at is None else to_micros(after.finished_at),
        None if after.deadline_at is None else to_micros(after.deadline_at),
        None if after.cancel_requested_at is None else to_micros(after.cancel_requested_at),
        None if after.crash is None else after.crash.to_json_text(),
        None if after.early_proceed_at is None else to_micros(after.early_proceed_at),
        None if after.start_by is None else to_micros(after.start_by),
        None if after.limited_by is None else _text(after.limited_by),
        None if after.slot_at is None else to_micros(after.slot_at),
        before.id,
        before.fence,
        before.token,
        before.sequence,
        before.revision,
        _text(before.state),
    )


def request_values(after: TaskRecord) -> Values:
    """What `write_request.sql` wants."""
    request = (after.version, after.metadata_json, after.initial_execution_metadata_json)
    return (*request, after.rate_key, after.concurrency_key, after.id)


def commit_values(decided: Transition) -> Values:
    """What `write_commit.sql` wants."""
    before, after = decided.before, decided.after
    return (
        after.execution_metadata_json,
        after.sequence,
        after.stalls,
        after.revision,
        before.id,
        before.fence,
        before.token,
        before.sequence,
        before.revision,
    )


def history_values(after: TaskRecord, events: tuple[HistoryEvent, ...]) -> Iterator[Values]:
    """What `write_history.sql` wants, a line for each event that led to `after`."""
    for ordinal, event in enumerate(events):
        at, kind, state = to_micros(event.at), _text(event.kind), _text(event.state)
        who = event.by or None
        yield (after.id, after.revision, ordinal, at, kind, state, event.attempt, event.executor, event.reason, who)


def event_of(row: Row) -> HistoryEvent:
    """A line of history."""
    at, kind, state, attempt, executor, reason, by = row
    return history_event(_moment(at), kind, state, attempt, executor, reason, by)


def lease_values(lease: Lease) -> Values:
    """What `open_lease.sql` wants."""
    times = (lease.started_at, lease.renewed_at, lease.lease_until)
    tasks = json.dumps(dict(lease.tasks))
    queues = None if lease.queues is None else json.dumps(lease.queues)
    terms = lease.terms.to_json_text()
    counts = (lease.slots, lease.running)
    return (lease.executor, lease.host, lease.pid, *map(to_micros, times), *counts, tasks, queues, terms)


def lease_of(row: Row) -> Lease:
    """An executor's lease."""
    executor, host, pid, *times, slots, running, tasks, queues, terms = row
    started_at, renewed_at, lease_until = map(_moment, times)
    known, told = known_tasks(tasks), Terms.from_json_text(terms)
    served = None if queues is None else served_queues(queues)
    return Lease(executor, host, pid, started_at, renewed_at, lease_until, slots, running, known, served, told)


@lru_cache(_MOMENTS_KEPT)
def _moment(micros: int) -> datetime:
    try:
        return EPOCH + timedelta(0, 0, micros)  # `from_micros`, without the cost of a named argument
    except OverflowError:  # not a time that milepost wrote
        return datetime.max.replace(tzinfo=UTC) if micros > 0 else datetime.min.replace(tzinfo=UTC)
