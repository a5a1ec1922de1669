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
from milepost.lifecycle.awaiting import receive
from milepost.lifecycle.change import (
    Decision,
    Transition,
    also,
    by_deadline,
    change_to,
    committed,
    end,
    release,
    unstarted,
)
from milepost.lifecycle.events import Event
from milepost.lifecycle.joining import await_end, child_failed, children_ended
from milepost.lifecycle.limits import ConcurrencyLimit, RateLimit
from milepost.lifecycle.parking import give_keys, let_in, put_back, turn_away
from milepost.lifecycle.proceeding import proceed
from milepost.lifecycle.record import HistoryKind, TaskRecord
from milepost.lifecycle.refusals import WrongState
from milepost.lifecycle.requeueing import requeue
from milepost.lifecycle.retry import Retry
from milepost.lifecycle.states import FINAL_STATES, TaskState
from milepost.lifecycle.ties import Tie

STALLS_MAX = 5
"""Claims without progress after which a task is quarantined instead of run."""

SUSPECT_STALLS = 2
"""Claims without progress after which a task is suspected of killing its process: an executor runs such tasks one by
one, so that a killer does not take its neighbours into quarantine with it."""

_SUSPECT_DELAY = timedelta(milliseconds=500)
_UNDECODABLE_DELAY = timedelta(seconds=10)
_UNDECODABLE_DOUBLINGS_MAX = 13  # about a day; a policy may allow more stalls than a timedelta has room for


@final
@frozen
class Policy:
    """What of a task's definition the transition needs."""

    retry: Retry = attrs.field(factory=Retry.default)
    stalls_max: int = STALLS_MAX
    rate_limit: RateLimit | None = None
    concurrency_limit: ConcurrencyLimit | None = None
    has_limits: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "has_limits", self.rate_limit is not None or self.concurrency_limit is not None)


DEFAULT_POLICY = Policy()


def transition(record: TaskRecord, event: Event, *, now: datetime, policy: Policy = DEFAULT_POLICY) -> Decision:
    """Decide what `event` makes of `record`; `WrongState` where the record's state does not allow it."""
    match event:
        case events.Claimed():
            return _claim(record, event, now)
        case events.CancelRequested():
            return _request_cancel(record, event, now)
        case events.Requeued():
            return requeue(record, event, now)
        case events.Proceeded():
            return proceed(record, event, now)
        case events.LetIn():
            return let_in(record, now)
        case events.ChildrenEnded(count=count):
            return children_ended(record, count, now)
        case events.ChildFailed():
            return child_failed(record)
        case events.Awaited():
            return await_end(record)
        case events.Received():
            return receive(record, event, now)
        case _:
            if record.state is not TaskState.RUNNING:
                return WrongState(record.state)
            return _end_or_go_on(record, event, now, policy)


def admission(
    record: TaskRecord, *, now: datetime, policy: Policy = DEFAULT_POLICY, may_be_suspect: bool = True
) -> Event | None:
    """What ends a freshly claimed task before it runs, or None: run it.

    A cancel, a missed start, a missed deadline, too many stalls; or, unless it `may_be_suspect`, that it is one
    (`is_suspect`).
    """
    if record.cancel_requested_at is not None:
        return events.CancelObeyed()
    # The claim has written the start, unless there was one before.
    if record.start_by is not None and record.started_at is not None and record.started_at > record.start_by:
        return events.StartMissed()
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
    return change_to(record, TaskState.RUNNING, kind, now, changes)


def _request_cancel(record: TaskRecord, event: events.CancelRequested, now: datetime) -> Decision:
    if record.state in FINAL_STATES:
        return WrongState(record.state)
    if record.state is TaskState.RUNNING:
        request: dict[str, Any] = {}
        if event.tree and Tie.TREE_CANCELLED not in record.ties:
            request["ties"] = record.ties | Tie.TREE_CANCELLED
        if record.cancel_requested_at is not None and not request:
            return Transition(record, record, ())  # the first request stands; asking again is no change
        if record.cancel_requested_at is None:
            request |= {"cancel_requested_at": now, "cancel_reason": event.reason}
        return change_to(record, TaskState.RUNNING, HistoryKind.CANCEL_REQUESTED, now, request, event.reason, event.by)
    return _cancelled(record, event.reason, now, by=event.by, fence=record.fence + 1)


_UnusedEvent: TypeAlias = (
    events.Undecodable | events.Deferred | events.Stalled | events.Limited | events.OverLimit | events.Keyed
)
_RunEvent: TypeAlias = (
    events.Committed
    | events.Succeeded
    | events.Suspended
    | events.Failed
    | events.GaveUp
    | events.Crashed
    | events.DeadlineMissed
    | events.StartMissed
    | events.Interrupted
    | events.CancelObeyed
    | _UnusedEvent
)


def _end_or_go_on(record: TaskRecord, event: _RunEvent, now: datetime, policy: Policy) -> Decision:
    cancelling = record.cancel_requested_at is not None
    match event:
        case events.Committed():
            changes = {**committed(record, event.execution_metadata, event.moved), "stalls": 0}
            return change_to(record, TaskState.RUNNING, HistoryKind.COMMITTED, now, changes)
        case events.Succeeded(result=result):
            return end(record, TaskState.COMPLETED, HistoryKind.COMPLETED, now, result_json=result)
        case events.Suspended() if cancelling:
            # What it carries is dropped, and with it a progress that would tell of that as done.
            carries = event.enqueues or event.has_effects
            kept = {} if carries else committed(record, event.execution_metadata, event.moved)
            return _cancelled(record, record.cancel_reason or "", now, **kept)
        case events.Suspended():
            return _suspend(record, event, now)
        case events.Failed():
            return _fail(record, event, now, policy)
        case events.GaveUp(error=error):
            reason = event.shown or error
            return end(record, TaskState.CANCELLED, HistoryKind.CANCELLED, now, reason=reason, error_json=error)
        case events.Crashed():
            return _crash(record, event, now, policy)
        case events.DeadlineMissed():
            crash = Crash(CrashKind.DEADLINE, f"not finished within {record.deadline_seconds} seconds")
            return end(record, TaskState.FAILED, HistoryKind.FAILED, now, reason=crash.message, crash=crash)
        case events.StartMissed():
            crash = Crash(CrashKind.DEADLINE, _not_started(record))
            return end(record, TaskState.FAILED, HistoryKind.FAILED, now, reason=crash.message, crash=crash)
        case events.Interrupted() if cancelling:
            return _cancelled(record, record.cancel_reason or "", now)
        case events.Interrupted():
            return release(
                record,
                TaskState.INTERRUPTED,
                HistoryKind.INTERRUPTED,
                now,
                stalls=max(0, record.stalls - 1),  # the claim spent one, and a graceful stop spends nothing
                interruptions=record.interruptions + 1,
            )
        case events.CancelObeyed():
            return _cancelled(record, record.cancel_reason or "", now)
        case _:
            return _give_back(record, event, now, policy)


def _give_back(record: TaskRecord, event: _UnusedEvent, now: datetime, policy: Policy) -> Decision:
    """The claim ends before the task's function was called."""
    match event:
        case events.Undecodable(reason=reason):
            return _undecodable(record, reason, now, policy)
        case events.Deferred(delay=delay):
            reason = "waits until another suspect has run"
            due_at = later(now, delay)
            stalls = max(0, record.stalls - 1)
            given: dict[str, Any] = {"due_at": due_at, "stalls": stalls, **unstarted(record, now)}
            return release(record, TaskState.PENDING, HistoryKind.RELEASED, now, reason=reason, **given)
        case events.Stalled():
            crash = Crash(CrashKind.STALLED, f"claimed {record.stalls - 1} times without progress")
            return _quarantine(record, crash, now)
        case _ if record.cancel_requested_at is not None:
            return _cancelled(record, record.cancel_reason or "", now)
        case events.Limited():
            return put_back(record, event, now)
        case events.OverLimit():
            return turn_away(record, event, now)
        case events.Keyed():
            return give_keys(record, event, now)
        case _:
            assert_never(event)


def _suspend(record: TaskRecord, event: events.Suspended, now: datetime) -> Decision:
    joins = event.join is not None and event.enqueues
    early = None if joins else record.early_proceed_at  # a wait for children is not what a proceed is meant to end
    moved = event.execution_metadata is not None and event.execution_metadata != record.execution_metadata_json
    due_at = None if joins else _wake_up(event, now) if early is None else early
    due_at = by_deadline(record, due_at)
    at_once = not joins and due_at is not None and due_at <= now
    # An immediate return without progress is how a task spins; it spends the stall budget, everything else restores it.
    spins = at_once and not moved and not event.enqueues and early is None
    decided = release(
        record,
        TaskState.PENDING if at_once else TaskState.SUSPENDED,
        HistoryKind.SUSPENDED,
        now,
        due_at=now if at_once else due_at,
        stalls=record.stalls if spins else 0,
        early_proceed_at=record.early_proceed_at if joins else None,
        **_waits(record, event),
        **_committed(record, event),
    )
    return decided if early is None else also(decided, HistoryKind.PROCEEDED, now, "by a proceed that came before")


def _waits(record: TaskRecord, event: events.Suspended) -> dict[str, Any]:
    """What changes of whom or what the task waits for; nothing for most."""
    changes: dict[str, Any] = {}
    join = event.join if event.enqueues else None
    if join is not record.join:
        changes["join"] = join
    if Tie.FAILED_FAST in record.ties:
        changes["ties"] = record.ties & ~Tie.FAILED_FAST
    if event.event is not None or record.awaited_event is not None:
        changes |= {"awaited_event": event.event, "awaited_key": event.key, "received_json": None}
    return changes


def _committed(record: TaskRecord, event: events.Suspended) -> dict[str, Any]:
    """What a suspension commits: new execution metadata, and that it enqueues others, or begins to wait for an event,
    which must not happen twice in one place."""
    changes = committed(record, event.execution_metadata, event.moved)
    if event.enqueues or event.event is not None:
        changes["sequence"] = record.sequence + 1
    return changes


def _wake_up(event: events.Suspended, now: datetime) -> datetime | None:
    match event.until:
        case timedelta():
            return later(now, event.until)
        case until:
            # Who waits for children and has none goes on at once.
            return now if event.at_once or event.join is not None else until


def _fail(record: TaskRecord, event: events.Failed, now: datetime, policy: Policy) -> Decision:
    failures = record.failures + 1
    reason = event.shown or event.error
    delay = event.retry_after
    if delay is None and event.retryable:
        delay = policy.retry.delay(failures, seed=record.id)
    if event.final or delay is None:
        return end(record, TaskState.FAILED, HistoryKind.FAILED, now, reason=reason, error_json=event.error)
    return _retry(record, delay, reason, now, error_json=event.error, crash=None)


def _crash(record: TaskRecord, event: events.Crashed, now: datetime, policy: Policy) -> Decision:
    crash = event.crash
    reason = f"{crash.type_name}: {crash.message}" if crash.type_name else crash.message
    delay = policy.retry.delay(record.failures + 1, seed=record.id) if event.retryable else None
    if delay is None:
        return end(record, TaskState.FAILED, HistoryKind.FAILED, now, reason=reason, crash=crash)
    return _retry(record, delay, reason, now, error_json=None, crash=crash)


def _retry(record: TaskRecord, delay: timedelta, reason: str, now: datetime, **last: Any) -> Decision:
    if record.cancel_requested_at is not None:
        return _cancelled(record, record.cancel_reason or "", now)
    return release(
        record,
        TaskState.RETRYING,
        HistoryKind.RETRY_SCHEDULED,
        now,
        reason=reason,
        due_at=by_deadline(record, later(now, delay)),
        failures=record.failures + 1,
        stalls=0,
        **last,
    )


def _undecodable(record: TaskRecord, reason: str, now: datetime, policy: Policy) -> Decision:
    if record.stalls >= policy.stalls_max:
        return _quarantine(record, Crash(CrashKind.UNDECODABLE, reason), now)
    doublings = min(max(0, record.stalls - 1), _UNDECODABLE_DOUBLINGS_MAX)
    due_at = later(now, _UNDECODABLE_DELAY * 2**doublings)
    return release(record, TaskState.PENDING, HistoryKind.RELEASED, now, reason=reason, due_at=due_at)


def _not_started(record: TaskRecord) -> str:
    start_by = "" if record.start_by is None else f", which was {record.start_by.isoformat()}"
    return f"not started by its start deadline{start_by}"


def _quarantine(record: TaskRecord, crash: Crash, now: datetime) -> Decision:
    return release(
        record, TaskState.QUARANTINED, HistoryKind.QUARANTINED, now, reason=crash.message, crash=crash, due_at=None
    )


def _cancelled(record: TaskRecord, reason: str, now: datetime, **changes: Any) -> Decision:
    crash = Crash(CrashKind.CANCELLED, reason)
    return end(record, TaskState.CANCELLED, HistoryKind.CANCELLED, now, reason=reason, crash=crash, **changes)
