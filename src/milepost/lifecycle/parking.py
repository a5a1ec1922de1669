"""What a limit makes of a task: it is put back to wait, turned away for good, or let in from the line. Pure.

Being put back costs a task nothing: the claim's stall is given back and its first start undone, as if it had not been
claimed.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from milepost.clock import later
from milepost.crash import Crash, CrashKind
from milepost.lifecycle import events
from milepost.lifecycle.change import Decision, Transition, end, release, unstarted
from milepost.lifecycle.record import HistoryKind, TaskRecord
from milepost.lifecycle.refusals import WrongState
from milepost.lifecycle.states import LimitKind, TaskState

_MOMENT = timedelta(microseconds=1)
_NAMES = MappingProxyType({LimitKind.RATE: "rate limit", LimitKind.CONCURRENCY: "concurrency limit"})


def put_back(record: TaskRecord, event: events.Limited, now: datetime) -> Transition:
    """Wait for a start or a share, but never beyond what would end the task, so that it ends when it must."""
    due_at = event.until
    for last in (record.deadline_at, record.start_by):
        if last is not None and now <= last < due_at:
            due_at = later(last, _MOMENT)
    what = f"slot at {event.slot_at.isoformat()}" if event.slot_at is not None else ""
    reason = ": ".join(filter(None, (_NAMES[event.kind], what)))
    return _back(record, now, reason, due_at=due_at, limited_by=event.kind, slot_at=event.slot_at)


def give_keys(record: TaskRecord, event: events.Keyed, now: datetime) -> Transition:
    """From now on it is counted by these keys; it is claimed again at once."""
    keys: dict[str, Any] = {"rate_key": event.rate_key, "concurrency_key": event.concurrency_key}
    return _back(record, now, "older than its limit", **keys)


def turn_away(record: TaskRecord, event: events.OverLimit, now: datetime) -> Transition:
    """End the task, for it does not wait."""
    crash = Crash(CrashKind.LIMITED, f"{_NAMES[event.kind]}: {event.reason}")
    return end(record, TaskState.FAILED, HistoryKind.FAILED, now, reason=crash.message, crash=crash)


def let_in(record: TaskRecord, now: datetime) -> Decision:
    """A share is free for the first of the line: it is due, and before whoever came later.

    No line of history: the claim that follows has one.
    """
    if record.state is not TaskState.PENDING or record.limited_by is not LimitKind.CONCURRENCY:
        return WrongState(record.state)
    changes: dict[str, Any] = {"due_at": min(record.created_at, now), "revision": record.revision + 1}
    return Transition(record, record.changed(changes), ())


def _back(record: TaskRecord, now: datetime, reason: str, **changes: Any) -> Transition:
    stalls = max(0, record.stalls - 1)
    unused = unstarted(record, now)
    kind = HistoryKind.LIMITED
    return release(record, TaskState.PENDING, kind, now, reason=reason, stalls=stalls, **unused, **changes)
