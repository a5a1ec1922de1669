"""What every decision is written with: a change of a record, with its history. Pure, and below all that decides."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, TypeAlias, assert_never, final

from attrs import frozen

from milepost.clock import later
from milepost.lifecycle.events import Moved
from milepost.lifecycle.record import Audit, HistoryEvent, HistoryKind, TaskRecord
from milepost.lifecycle.refusals import WrongState
from milepost.lifecycle.states import TaskState
from milepost.payload import JsonText

_MOMENT = timedelta(microseconds=1)
_ERROR_KINDS = frozenset(
    {HistoryKind.RETRY_SCHEDULED, HistoryKind.FAILED, HistoryKind.QUARANTINED, HistoryKind.RELEASED}
)


@final
@frozen
class Transition:
    """A decided change: write `after` if the row is still as `before`, and append `history`."""

    before: TaskRecord
    after: TaskRecord
    history: tuple[HistoryEvent, ...]

    @property
    def is_commit(self) -> bool:
        """Whether a run commits and goes on: execution metadata, sequence, stalls and revision are all that changes."""
        before, after = self.before, self.after
        return before.state is after.state is TaskState.RUNNING and before.sequence != after.sequence

    @property
    def resets_progress(self) -> bool:
        """Whether stores write progress: else what was reported since `before` was read, and is newer, stays."""
        before, after = self.before, self.after
        return before.progress != after.progress or before.progress_note != after.progress_note

    @property
    def rewrites_request(self) -> bool:
        """Whether stores write the request too, which else never changes: metadata, its version, its keys of limits,
        the first execution metadata."""
        before, after = self.before, self.after
        return (
            before.metadata_json != after.metadata_json
            or before.initial_execution_metadata_json != after.initial_execution_metadata_json
            or before.version != after.version
            or before.rate_key != after.rate_key
            or before.concurrency_key != after.concurrency_key
        )

    @property
    def rewrites_ties(self) -> bool:
        """Whether stores write how the task is tied to others too, which changes rarely: ties, join, awaited event."""
        before, after = self.before, self.after
        return (
            before.ties is not after.ties
            or before.join is not after.join
            or before.awaited_event != after.awaited_event
            or before.awaited_key != after.awaited_key
            or before.received_json != after.received_json
        )


Decision: TypeAlias = Transition | WrongState


def change_to(
    record: TaskRecord,
    state: TaskState,
    kind: HistoryKind,
    now: datetime,
    changes: dict[str, Any],
    reason: str = "",
    by: str = "",
) -> Transition:
    """`changes` is the caller's no more: the state and the next revision are added to it."""
    changes["state"] = state
    changes["revision"] = record.revision + 1
    after = record.changed(changes)
    if not is_audited(kind, record.audit):
        return Transition(record, after, ())
    executor = after.executor or record.executor
    return Transition(record, after, (HistoryEvent(now, kind, state, record.attempt, executor, reason, by),))


def committed(record: TaskRecord, execution_metadata: JsonText | None, moved: Moved | None) -> dict[str, Any]:
    """What new execution metadata changes; with it a request of an older version becomes one of its writer's."""
    if execution_metadata is None:
        return {}
    changes: dict[str, Any] = {"execution_metadata_json": execution_metadata, "sequence": record.sequence + 1}
    if moved is None:
        return changes
    return changes | {
        "version": moved.version,
        "metadata_json": moved.metadata,
        "initial_execution_metadata_json": moved.initial_execution_metadata,
    }


def by_deadline(record: TaskRecord, due_at: datetime | None) -> datetime | None:
    """`due_at`, but no later than a moment behind the task's deadline: then it is claimed, and so ended, whatever it
    waits for."""
    if record.deadline_at is None:
        return due_at
    last = later(record.deadline_at, _MOMENT)
    return last if due_at is None else min(due_at, last)


def release(
    record: TaskRecord,
    state: TaskState,
    kind: HistoryKind,
    now: datetime,
    *,
    reason: str = "",
    by: str = "",
    **changes: Any,
) -> Transition:
    """Give up the claim without an end; claimable at once unless `due_at` says otherwise."""
    unlimited = {"due_at": now, "limited_by": None, "slot_at": None}
    return change_to(record, state, kind, now, {**unlimited, **changes, "executor": None}, reason, by)


def end(
    record: TaskRecord,
    state: TaskState,
    kind: HistoryKind,
    now: datetime,
    *,
    reason: str = "",
    by: str = "",
    **outcome: Any,
) -> Transition:
    """End the epoch; what an earlier attempt left behind as its error makes way for the outcome, and a proceed that was
    kept is dropped."""
    changes: dict[str, Any] = {
        "result_json": None,
        "error_json": None,
        "crash": None,
        "due_at": None,
        "executor": None,
        "stalls": 0,
        "finished_at": now,
        "early_proceed_at": None,
        "limited_by": None,
        "slot_at": None,
        **outcome,
    }
    return dropping_proceed(change_to(record, state, kind, now, changes, reason, by), now)


def dropping_proceed(decided: Transition, now: datetime) -> Transition:
    """The same, telling of a kept proceed that it takes away."""
    if decided.before.early_proceed_at is None or decided.after.early_proceed_at is not None:
        return decided
    return also(decided, HistoryKind.PROCEED_DROPPED, now, "the task did not suspend any more")


def also(decided: Transition, kind: HistoryKind, now: datetime, reason: str) -> Transition:
    """The same change with one more line of history."""
    after = decided.after
    if not is_audited(kind, after.audit):
        return decided
    executor = after.executor or decided.before.executor
    line = HistoryEvent(now, kind, after.state, decided.before.attempt, executor, reason)
    return Transition(decided.before, after, (*decided.history, line))


def unstarted(record: TaskRecord, now: datetime) -> dict[str, Any]:
    """What a claim that is given back unused takes back: the start that it wrote, if it was the first one."""
    return {"started_at": None} if record.started_at == now else {}


def enqueued_history(record: TaskRecord) -> tuple[HistoryEvent, ...]:
    """The first line of a task's history, told from its row."""
    if not is_audited(HistoryKind.ENQUEUED, record.audit):
        return ()
    return (HistoryEvent(record.created_at, HistoryKind.ENQUEUED, TaskState.PENDING, 1),)


def is_audited(kind: HistoryKind, audit: Audit) -> bool:
    """Whether history of this kind is kept at this audit level."""
    match audit:
        case Audit.TRANSITIONS:
            return kind is not HistoryKind.COMMITTED
        case Audit.FULL:
            return True
        case Audit.ERRORS:
            return kind in _ERROR_KINDS
        case Audit.NONE:
            return False
        case _:
            assert_never(audit)
