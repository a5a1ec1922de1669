"""The heart of the house: record x event x policy x now -> the next record and its history, or a refusal.

Pure and total. Stores apply what is decided here and decide nothing themselves; `tests/lifecycle` enumerates every
state against every event.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, TypeAlias, assert_never, final

import attrs
from attrs import frozen

from milepost.clock import later
from milepost.crash import Crash, CrashKind
from milepost.lifecycle import events
from milepost.lifecycle.events import Event
from milepost.lifecycle.limits import ConcurrencyLimit, RateLimit
from milepost.lifecycle.record import Audit, HistoryEvent, HistoryKind, TaskRecord, deadline_from
from milepost.lifecycle.refusals import WrongState
from milepost.lifecycle.retry import Retry
from milepost.lifecycle.states import FINAL_STATES, TaskState

STALLS_MAX = 5
"""Claims without progress after which a task is quarantined instead of run."""

SUSPECT_STALLS = 2
"""Claims without progress after which a task is suspected of killing its process: an executor runs such tasks one by
one, so that a killer does not take its neighbours into quarantine with it."""

_SUSPECT_DELAY = timedelta(milliseconds=500)
_UNDECODABLE_DELAY = timedelta(seconds=10)
_UNDECODABLE_DOUBLINGS_MAX = 13  # about a day; a policy may allow more stalls than a timedelta has room for
_ERROR_KINDS = frozenset(
    {HistoryKind.RETRY_SCHEDULED, HistoryKind.FAILED, HistoryKind.QUARANTINED, HistoryKind.RELEASED}
)


@final
@frozen
class Policy:
    """What of a task's definition the transition needs."""

    retry: Retry = attrs.field(factory=Retry.default)
    stalls_max: int = STALLS_MAX
    rate_limit: RateLimit | None = None
    concurrency_limit: ConcurrencyLimit | None = None


DEFAULT_POLICY = Policy()


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


Decision: TypeAlias = Transition | WrongState


def transition(record: TaskRecord, event: Event, *, now: datetime, policy: Policy = DEFAULT_POLICY) -> Decision:
    """Decide what `event` makes of `record`; `WrongState` where the record's state does not allow it."""
    match event:
        case events.Claimed():
            return _claim(record, event, now)
        case events.CancelRequested():
            return _request_cancel(record, event, now)
        case events.Requeued():
            return _requeue(record, event, now)
        case _:
            if record.state is not TaskState.RUNNING:
                return WrongState(record.state)
            return _end_or_go_on(record, event, now, policy)


def admission(
    record: TaskRecord, *, now: datetime, policy: Policy = DEFAULT_POLICY, may_be_suspect: bool = True
) -> Event | None:
    """What ends a freshly claimed task before it runs, or None: run it.

    A cancel, a missed deadline, too many stalls; or, unless it `may_be_suspect`, that it is one (`is_suspect`).
    """
    if record.cancel_requested_at is not None:
        return events.CancelObeyed()
    if record.deadline_at is not None and record.deadline_at <= now:
        return events.DeadlineMissed()
    if record.stalls > policy.stalls_max:
        return events.Stalled()
    if not may_be_suspect and is_suspect(record):
        return events.Deferred(_SUSPECT_DELAY)
    return None


def is_suspect(record: TaskRecord) -> bool:
    """Whether a running task may be what killed its last processes."""
    return record.stalls > SUSPECT_STALLS


def _claim(record: TaskRecord, event: events.Claimed, now: datetime) -> Decision:
    reclaimed = record.state is TaskState.RUNNING
    if not reclaimed and record.due_at is None:
        return WrongState(record.state)
    kind = HistoryKind.RECLAIMED if reclaimed else HistoryKind.CLAIMED
    changes: dict[str, Any] = {
        "due_at": None,
        "fence": record.fence + 1,
        "token": event.token,
        "executor": event.executor,
        "stalls": record.stalls + 1,
        "started_at": record.started_at or now,
    }
    return _to(record, TaskState.RUNNING, kind, now, changes)


def _request_cancel(record: TaskRecord, event: events.CancelRequested, now: datetime) -> Decision:
    if record.state in FINAL_STATES:
        return WrongState(record.state)
    if record.state is TaskState.RUNNING:
        if record.cancel_requested_at is not None:
            return Transition(record, record, ())  # the first request stands; asking again is no change
        request: dict[str, Any] = {"cancel_requested_at": now, "cancel_reason": event.reason}
        return _to(record, TaskState.RUNNING, HistoryKind.CANCEL_REQUESTED, now, request, event.reason)
    return _cancelled(record, event.reason, now, fence=record.fence + 1)


def _requeue(record: TaskRecord, event: events.Requeued, now: datetime) -> Decision:
    if record.state not in FINAL_STATES and record.state is not TaskState.QUARANTINED:
        return WrongState(record.state)
    fresh: dict[str, Any] = {
        "due_at": now,
        "epoch": record.epoch + 1,
        "failures": 0,
        "stalls": 0,
        "interruptions": 0,
        "result_json": None,
        "error_json": None,
        "crash": None,
        "cancel_requested_at": None,
        "cancel_reason": None,
        "progress": None,
        "progress_note": "",
        "started_at": None,
        "finished_at": None,
        "deadline_at": deadline_from(now, record.deadline_seconds),
    }
    if event.from_start:
        # A commit of the first execution metadata, so that the idempotency key is a new one too.
        fresh["execution_metadata_json"] = record.initial_execution_metadata_json
        fresh["sequence"] = record.sequence + 1
    reason = "from the start" if event.from_start else ""
    return _to(record, TaskState.PENDING, HistoryKind.REQUEUED, now, fresh, reason)


_RunEvent: TypeAlias = (
    events.Committed
    | events.Succeeded
    | events.Suspended
    | events.Failed
    | events.GaveUp
    | events.Crashed
    | events.DeadlineMissed
    | events.Interrupted
    | events.Undecodable
    | events.Deferred
    | events.Stalled
    | events.CancelObeyed
)


def _end_or_go_on(record: TaskRecord, event: _RunEvent, now: datetime, policy: Policy) -> Decision:
    cancelling = record.cancel_requested_at is not None
    match event:
        case events.Committed(execution_metadata=x):
            return _to(record, TaskState.RUNNING, HistoryKind.COMMITTED, now, {**_committed(record, x), "stalls": 0})
        case events.Succeeded(result=result):
            return _final(record, TaskState.COMPLETED, HistoryKind.COMPLETED, now, result_json=result)
        case events.Suspended() if cancelling:
            return _cancelled(record, record.cancel_reason or "", now, **_committed(record, event.execution_metadata))
        case events.Suspended():
            return _suspend(record, event, now)
        case events.Failed():
            return _fail(record, event, now, policy)
        case events.GaveUp(error=error):
            return _final(record, TaskState.CANCELLED, HistoryKind.CANCELLED, now, reason=error, error_json=error)
        case events.Crashed():
            return _crash(record, event, now, policy)
        case events.DeadlineMissed():
            crash = Crash(CrashKind.DEADLINE, f"not finished within {record.deadline_seconds} seconds")
            return _final(record, TaskState.FAILED, HistoryKind.FAILED, now, reason=crash.message, crash=crash)
        case events.Interrupted() if cancelling:
            return _cancelled(record, record.cancel_reason or "", now)
        case events.Interrupted():
            return _release(
                record,
                TaskState.INTERRUPTED,
                HistoryKind.INTERRUPTED,
                now,
                stalls=max(0, record.stalls - 1),  # the claim spent one, and a graceful stop spends nothing
                interruptions=record.interruptions + 1,
            )
        case events.Undecodable(reason=reason):
            return _undecodable(record, reason, now, policy)
        case events.Deferred(delay=delay):
            reason = "waits until another suspect has run"
            due_at = later(now, delay)
            stalls = max(0, record.stalls - 1)
            return _release(
                record, TaskState.PENDING, HistoryKind.RELEASED, now, reason=reason, due_at=due_at, stalls=stalls
            )
        case events.Stalled():
            crash = Crash(CrashKind.STALLED, f"claimed {record.stalls - 1} times without progress")
            return _quarantine(record, crash, now)
        case events.CancelObeyed():
            return _cancelled(record, record.cancel_reason or "", now)
        case _:
            assert_never(event)


def _suspend(record: TaskRecord, event: events.Suspended, now: datetime) -> Decision:
    moved = event.execution_metadata is not None and event.execution_metadata != record.execution_metadata_json
    match event.until:
        case timedelta():
            due_at: datetime | None = later(now, event.until)
        case until:
            due_at = now if event.at_once else until
    # An immediate return without progress is how a task spins; it spends the stall budget, everything else restores it.
    at_once = due_at is not None and due_at <= now
    return _release(
        record,
        TaskState.PENDING if at_once else TaskState.SUSPENDED,
        HistoryKind.SUSPENDED,
        now,
        due_at=now if at_once else due_at,
        stalls=record.stalls if at_once and not moved else 0,
        **_committed(record, event.execution_metadata),
    )


def _fail(record: TaskRecord, event: events.Failed, now: datetime, policy: Policy) -> Decision:
    failures = record.failures + 1
    delay = event.retry_after
    if delay is None and event.retryable:
        delay = policy.retry.delay(failures, seed=record.id)
    if event.final or delay is None:
        return _final(record, TaskState.FAILED, HistoryKind.FAILED, now, reason=event.error, error_json=event.error)
    return _retry(record, delay, event.error, now, error_json=event.error, crash=None)


def _crash(record: TaskRecord, event: events.Crashed, now: datetime, policy: Policy) -> Decision:
    crash = event.crash
    reason = f"{crash.type_name}: {crash.message}" if crash.type_name else crash.message
    delay = policy.retry.delay(record.failures + 1, seed=record.id) if event.retryable else None
    if delay is None:
        return _final(record, TaskState.FAILED, HistoryKind.FAILED, now, reason=reason, crash=crash)
    return _retry(record, delay, reason, now, error_json=None, crash=crash)


def _retry(record: TaskRecord, delay: timedelta, reason: str, now: datetime, **last: Any) -> Decision:
    if record.cancel_requested_at is not None:
        return _cancelled(record, record.cancel_reason or "", now)
    return _release(
        record,
        TaskState.RETRYING,
        HistoryKind.RETRY_SCHEDULED,
        now,
        reason=reason,
        due_at=later(now, delay),
        failures=record.failures + 1,
        stalls=0,
        **last,
    )


def _undecodable(record: TaskRecord, reason: str, now: datetime, policy: Policy) -> Decision:
    if record.stalls >= policy.stalls_max:
        return _quarantine(record, Crash(CrashKind.UNDECODABLE, reason), now)
    doublings = min(max(0, record.stalls - 1), _UNDECODABLE_DOUBLINGS_MAX)
    due_at = later(now, _UNDECODABLE_DELAY * 2**doublings)
    return _release(record, TaskState.PENDING, HistoryKind.RELEASED, now, reason=reason, due_at=due_at)


def _quarantine(record: TaskRecord, crash: Crash, now: datetime) -> Decision:
    return _release(
        record, TaskState.QUARANTINED, HistoryKind.QUARANTINED, now, reason=crash.message, crash=crash, due_at=None
    )


def _cancelled(record: TaskRecord, reason: str, now: datetime, **changes: Any) -> Decision:
    crash = Crash(CrashKind.CANCELLED, reason)
    return _final(record, TaskState.CANCELLED, HistoryKind.CANCELLED, now, reason=reason, crash=crash, **changes)


def _committed(record: TaskRecord, execution_metadata: str | None) -> dict[str, Any]:
    if execution_metadata is None:
        return {}
    return {"execution_metadata_json": execution_metadata, "sequence": record.sequence + 1}


def _final(
    record: TaskRecord, state: TaskState, kind: HistoryKind, now: datetime, *, reason: str = "", **outcome: Any
) -> Transition:
    """End the epoch; what an earlier attempt left behind as its error makes way for the outcome."""
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
    return _to(record, state, kind, now, changes, reason)


def _release(
    record: TaskRecord, state: TaskState, kind: HistoryKind, now: datetime, *, reason: str = "", **changes: Any
) -> Transition:
    """Give up the claim without an end; claimable at once unless `due_at` says otherwise."""
    unlimited = {"due_at": now, "limited_by": None, "slot_at": None}
    return _to(record, state, kind, now, {**unlimited, **changes, "executor": None}, reason)


def _to(
    record: TaskRecord, state: TaskState, kind: HistoryKind, now: datetime, changes: dict[str, Any], reason: str = ""
) -> Transition:
    """`changes` is the caller's no more: the state and the next revision are added to it."""
    changes["state"] = state
    changes["revision"] = record.revision + 1
    after = record.changed(changes)
    if not is_audited(kind, record.audit):
        return Transition(record, after, ())
    executor = after.executor or record.executor
    return Transition(record, after, (HistoryEvent(now, kind, state, record.attempt, executor, reason),))


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
