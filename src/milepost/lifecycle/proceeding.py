"""What a proceed makes of a task: it ends a suspension, or is kept for the next one. Pure.

A proceed that comes early must not be lost: whoever sends it often learns of its event before the task that waits for
it has suspended.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from milepost.lifecycle import events
from milepost.lifecycle.change import Decision, Transition, by_deadline, change_to, committed
from milepost.lifecycle.record import HistoryKind, TaskRecord
from milepost.lifecycle.refusals import WrongState
from milepost.lifecycle.states import FINAL_STATES, TaskState

_DEAD_STATES = FINAL_STATES | {TaskState.QUARANTINED}


def proceed(record: TaskRecord, event: events.Proceeded, now: datetime) -> Decision:
    """Let a suspended task go on, with the next execution metadata if there is one; keep what comes too early."""
    at = now if event.at is None else max(event.at, now)
    reason = ": ".join(filter(None, (f"at {at.isoformat()}" if at > now else "", event.reason)))
    if record.waits_for_children:
        return WrongState(record.state)
    if record.state is TaskState.SUSPENDED:
        due_at = by_deadline(record, at) or at
        state = TaskState.SUSPENDED if due_at > now else TaskState.PENDING
        changes: dict[str, Any] = {"due_at": max(due_at, now)}
        changes |= committed(record, event.execution_metadata, event.moved)
        return change_to(record, state, HistoryKind.PROCEEDED, now, changes, reason, event.by)
    if record.state in _DEAD_STATES or event.execution_metadata is not None:
        return WrongState(record.state)
    kept = record.early_proceed_at
    if kept is not None and kept <= at:
        return Transition(record, record, ())  # at most one is kept, and the earlier one lets the task go on earlier
    return change_to(record, record.state, HistoryKind.PROCEED_KEPT, now, {"early_proceed_at": at}, reason, event.by)
