"""Records as rows and back. The order of columns is that of `migrations/0001_tasks.sql`.

A damaged field must not break the listing it stands in: it is shown as well as can be, never raised.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, TypeAlias, cast

from milepost.clock import EPOCH, to_micros
from milepost.crash import Crash, CrashKind
from milepost.lifecycle.record import Audit, HistoryEvent, HistoryKind, TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.lifecycle.transition import Transition
from milepost.payload import Json, from_json_text, to_json_text
from milepost.stores.protocol import Lease
from milepost.stores.sqlite.driver import Row

Values: TypeAlias = tuple[object, ...]

_STATES: Final = MappingProxyType({state.value: state for state in TaskState})
_AUDITS: Final = MappingProxyType({audit.value: audit for audit in Audit})
_KINDS: Final = MappingProxyType({kind.value: kind for kind in HistoryKind})
_CRASH_KINDS: Final = MappingProxyType({kind.value: kind for kind in CrashKind})

_COLUMNS: Final = (
    *(
        "number",
        "id",
        "name",
        "version",
        "queue",
        "priority",
        "key",
        "correlation",
        "audit",
        "state",
        "due_at",
        "fence",
    ),
    *("token", "executor", "revision", "sequence", "epoch", "failures", "stalls", "interruptions", "created_at"),
    *(
        "started_at",
        "finished_at",
        "deadline_seconds",
        "deadline_at",
        "cancel_requested_at",
        "cancel_reason",
        "progress",
    ),
    *("progress_note", "metadata_json", "execution_metadata_json", "initial_execution_metadata_json", "result_json"),
    *("error_json", "crash"),
)
_MOMENTS_KEPT: Final = 256  # of what was enqueued or claimed together, all have one
_MOMENTS: Final = ("due_at", "created_at", "started_at", "finished_at", "deadline_at", "cancel_requested_at")

# The fields that are stored as they are, each group in the order of its statement. Every write reads the texts of a few
# enums: `value` of one costs several look-ups, and to hash one takes longer still.
_inserted: Final = attrgetter(
    *("id", "name", "version", "queue", "priority", "key", "correlation", "fence", "token", "executor", "revision"),
    *("sequence", "epoch", "failures", "stalls", "interruptions", "deadline_seconds", "cancel_reason", "progress"),
    *("progress_note", "metadata_json", "execution_metadata_json", "initial_execution_metadata_json", "result_json"),
    *("error_json", "audit._value_", "state._value_"),
)
_written: Final = attrgetter(
    *("fence", "token", "executor", "revision", "sequence", "epoch", "failures", "stalls", "interruptions"),
    *("cancel_reason", "execution_metadata_json", "result_json", "error_json", "state._value_"),
)
_compared: Final = attrgetter("id", "fence", "token", "sequence", "revision", "state._value_")
_told: Final = attrgetter("kind._value_", "state._value_", "attempt", "executor", "reason")


def record_of(row: Row) -> TaskRecord:
    """The record in a whole row of `milepost_task`."""
    fields = dict(zip(_COLUMNS, row, strict=True))
    del fields["number"]
    fields["audit"] = _AUDITS[fields["audit"]]
    fields["state"] = _STATES[fields["state"]]
    for name in _MOMENTS:
        micros = fields[name]
        if micros is not None:
            fields[name] = _moment(micros)
    if fields["crash"] is not None:
        fields["crash"] = _crash(fields["crash"])
    return TaskRecord.restored(fields)


def insert_values(record: TaskRecord) -> Values:
    """What `insert.sql` wants."""
    return (
        *_inserted(record),
        to_micros(record.created_at),
        None if record.due_at is None else to_micros(record.due_at),
        None if record.started_at is None else to_micros(record.started_at),
        None if record.finished_at is None else to_micros(record.finished_at),
        None if record.deadline_at is None else to_micros(record.deadline_at),
        None if record.cancel_requested_at is None else to_micros(record.cancel_requested_at),
        None if record.crash is None else _crash_text(record.crash),
    )


def write_values(decided: Transition) -> Values:
    """What `write.sql` wants: what a transition may change, and the version that it was decided on."""
    before, after = decided.before, decided.after
    return (
        *_written(after),
        None if after.due_at is None else to_micros(after.due_at),
        None if after.started_at is None else to_micros(after.started_at),
        None if after.finished_at is None else to_micros(after.finished_at),
        None if after.deadline_at is None else to_micros(after.deadline_at),
        None if after.cancel_requested_at is None else to_micros(after.cancel_requested_at),
        None if after.crash is None else _crash_text(after.crash),
        *_compared(before),
    )


def history_values(after: TaskRecord, events: tuple[HistoryEvent, ...]) -> Iterator[Values]:
    """What `write_history.sql` wants, a line for each event that led to `after`."""
    for ordinal, event in enumerate(events):
        yield (after.id, after.revision, ordinal, to_micros(event.at), *_told(event))


def event_of(row: Row) -> HistoryEvent:
    """A line of history."""
    at, kind, state, attempt, executor, reason = row
    return HistoryEvent(_moment(at), _KINDS[kind], _STATES[state], attempt, executor, reason)


def lease_values(lease: Lease) -> Values:
    """What `open_lease.sql` wants."""
    times = (lease.started_at, lease.renewed_at, lease.lease_until)
    return (lease.executor, lease.host, lease.pid, *map(to_micros, times))


def lease_of(row: Row) -> Lease:
    """An executor's lease."""
    executor, host, pid, *times = row
    started_at, renewed_at, lease_until = map(_moment, times)
    return Lease(executor, host, pid, started_at, renewed_at, lease_until)


@lru_cache(_MOMENTS_KEPT)
def _moment(micros: int) -> datetime:
    try:
        return EPOCH + timedelta(0, 0, micros)  # `from_micros`, without the cost of a named argument
    except OverflowError:  # not a time that milepost wrote
        return datetime.max.replace(tzinfo=UTC) if micros > 0 else datetime.min.replace(tzinfo=UTC)


def _crash_text(crash: Crash) -> str:
    parts: dict[str, Json] = {
        "kind": crash.kind.value,
        "message": crash.message,
        "type_name": crash.type_name,
        "traceback": crash.traceback,
    }
    return to_json_text(parts).unwrap()


def _crash(text: str) -> Crash:
    parts: Any = from_json_text(text).value_or(None)
    if not isinstance(parts, dict):
        return Crash(CrashKind.EXCEPTION, text)
    crash = cast("dict[str, object]", parts)
    kind = _CRASH_KINDS.get(str(crash.get("kind")))
    if kind is None:
        return Crash(CrashKind.EXCEPTION, text)
    message, type_name, traceback = (str(crash.get(part, "")) for part in ("message", "type_name", "traceback"))
    return Crash(kind, message, type_name, traceback)
