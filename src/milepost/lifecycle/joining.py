"""How a task waits for its children: what their ends, and who waits for its own end, make of it. Pure.

A group is a task that waits for its members: its continuation, or where it has none a record of its own that nobody
claims, and that the end of its last member ends.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from milepost.clock import later
from milepost.crash import Crash, CrashKind
from milepost.lifecycle.change import Decision, Transition, change_to, end
from milepost.lifecycle.children import ChildCount
from milepost.lifecycle.record import HistoryKind, TaskRecord, deadline_from
from milepost.lifecycle.refusals import WrongState
from milepost.lifecycle.states import TaskState
from milepost.lifecycle.ties import Join, Tie
from milepost.payload import JsonText

RESERVED_PREFIX: Final = "milepost."
"""How the names of what nobody defines as a task begin."""

GROUP_NAME: Final = f"{RESERVED_PREFIX}group"
"""The name of the head of a group without a continuation. No task has it, so no executor claims it."""


def children_ended(record: TaskRecord, count: ChildCount, now: datetime) -> Decision:
    """Let a task go on whose last child has ended; a group ends with it, and so does what needs a success of each."""
    join = record.join
    if not record.waits_for_children or join is None:
        return WrongState(record.state)
    told = str(count)
    unmet = join.needs_success and not count.all_completed
    if record.name == GROUP_NAME:
        text = JsonText(
            f'{{"cancelled":{count.cancelled},"completed":{count.completed},"failed":{count.failed}}}'
        )  # canonical, as every payload is
        if unmet:
            return end(record, TaskState.FAILED, HistoryKind.FAILED, now, reason=told, error_json=text)
        return end(record, TaskState.COMPLETED, HistoryKind.COMPLETED, now, reason=told, result_json=text)
    if unmet:
        reason = f"not all that it waits for has succeeded: {told}"
        crash = Crash(CrashKind.CANCELLED, reason)
        return end(record, TaskState.CANCELLED, HistoryKind.CANCELLED, now, reason=reason, crash=crash)
    changes: dict[str, Any] = {"due_at": now, "stalls": 0}
    if record.started_at is None:  # a continuation, whose deadlines count from now
        changes["deadline_at"] = deadline_from(now, record.deadline_seconds)
        changes["start_by"] = None if record.start_by is None else later(now, record.start_by - record.created_at)
    return change_to(record, TaskState.PENDING, HistoryKind.WOKEN, now, changes, told)


def child_failed(record: TaskRecord) -> Decision:
    """Note that a child has ended without a success and the others are to be cancelled; the same record where they were
    told already, so that it is done once and not at the end of each of them."""
    if not record.waits_for_children or record.join is None or not record.join.fails_fast:
        return WrongState(record.state)
    return _tied(record, Tie.FAILED_FAST)


def await_end(record: TaskRecord) -> Decision:
    """Note that somebody waits for the end of the task; no end of its own is told to whom it does not know of."""
    return WrongState(record.state) if record.state.is_final else _tied(record, Tie.AWAITED)


def waiting(record: TaskRecord, join: Join) -> TaskRecord:
    """A new record, as one that waits for others under `join` before it runs for the first time.

    Its deadlines count from when it goes on, for it cannot begin before.
    """
    return record.changed({"state": TaskState.SUSPENDED, "due_at": None, "join": join, "deadline_at": None})


def _tied(record: TaskRecord, tie: Tie) -> Transition:
    if tie in record.ties:
        return Transition(record, record, ())
    return Transition(record, record.changed({"ties": record.ties | tie, "revision": record.revision + 1}), ())
