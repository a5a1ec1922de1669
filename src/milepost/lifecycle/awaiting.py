"""How a task waits for a named event: what the event makes of it. Pure.

A wait begins with a suspension and ends with the event, with its own wake-up, or with a proceed; which of them it was,
the next run sees by whether anything has come.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from milepost.lifecycle.change import Decision, change_to
from milepost.lifecycle.events import Received
from milepost.lifecycle.record import HistoryKind, TaskRecord
from milepost.lifecycle.refusals import WrongState
from milepost.lifecycle.states import TaskState


def receive(record: TaskRecord, event: Received, now: datetime) -> Decision:
    """Let a task go on that waits for an event, with what came."""
    if not record.waits_for_event:
        return WrongState(record.state)
    changes: dict[str, Any] = {"due_at": now, "received_json": event.payload}
    reason = f"received the event {record.awaited_event}"
    return change_to(record, TaskState.PENDING, HistoryKind.WOKEN, now, changes, reason)
