"""The verbs that clients and executors share, over any session: read, decide purely, write.

Each decides everything before it writes anything, so a refusal leaves the caller's transaction as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeAlias, final

from attrs import frozen
from returns.result import Failure, Result, Success

from milepost.lifecycle import events
from milepost.lifecycle.draft import Draft, OnConflict
from milepost.lifecycle.events import Event
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.refusals import (
    CancelAccepted,
    CancelRefused,
    DeleteRefused,
    KeyTaken,
    RequeueRefused,
    TaskNotFound,
    WrongState,
)
from milepost.lifecycle.states import TaskState
from milepost.lifecycle.transition import Transition, transition
from milepost.stores.protocol import Session

_TRIES_MAX = 20

Key: TypeAlias = tuple[str, str]
Step: TypeAlias = Draft | Transition
"""A task to insert, or a transition to write."""


@final
@frozen
class Enqueued:
    """What became of a request: a new task, or the live one that holds its key."""

    id: TaskId
    created: bool


@final
@frozen
class EnqueuePlan:
    """What an enqueue will do, in order."""

    steps: tuple[Step, ...]
    answers: tuple[Enqueued, ...]


def plan_enqueue(
    drafts: Sequence[Draft], holders: Mapping[Key, TaskRecord], *, now: datetime
) -> Result[EnqueuePlan, KeyTaken]:
    """Decide what `drafts` become, all or none, where `holders` are the live tasks that hold their keys."""
    held = dict(holders)
    steps: list[Step] = []
    answers: list[Enqueued] = []
    for draft in drafts:
        if draft.key is not None:
            holder = held.get((draft.name, draft.key))
            if holder is not None and draft.on_conflict is OnConflict.KEEP:
                answers.append(Enqueued(holder.id, created=False))
                continue
            if holder is not None:
                cancel = transition(holder, events.CancelRequested(f"replaced by {draft.id}"), now=now)
                running = holder.state is TaskState.RUNNING
                if draft.on_conflict is OnConflict.REJECT or running or not isinstance(cancel, Transition):
                    return Failure(KeyTaken(holder.name, holder.key or "", holder.id))
                steps.append(cancel)
            held[draft.name, draft.key] = draft.record(now)
        steps.append(draft)
        answers.append(Enqueued(draft.id, created=True))
    return Success(EnqueuePlan(tuple(steps), tuple(answers)))


def enqueue(session: Session, drafts: Sequence[Draft]) -> Result[tuple[Enqueued, ...], KeyTaken]:
    """Insert `drafts`, all or none; a draft whose key is held becomes what its conflict policy says."""
    keys = [(draft.name, draft.key) for draft in drafts if draft.key is not None]
    holders = session.holders(keys) if keys else {}
    now = session.now()
    return plan_enqueue(drafts, holders, now=now).map(lambda plan: _carry_out(session, plan, now))


def cancel(session: Session, id: TaskId, reason: str) -> Result[CancelAccepted, CancelRefused]:
    """End a waiting, suspended or quarantined task now; ask the owner of a running one."""
    return _change(session, id, events.CancelRequested(reason)).map(lambda after: CancelAccepted(id, after.state))


def requeue(session: Session, id: TaskId, *, from_start: bool) -> Result[TaskRecord, RequeueRefused]:
    """Open a new epoch of a final or quarantined task, if its key is still free."""
    found = session.get([id])
    if found and found[0].key is not None:
        key = (found[0].name, found[0].key)
        holder = session.holders([key]).get(key)
        if holder is not None and holder.id != id:
            return Failure(KeyTaken(*key, holder.id))
    return _change(session, id, events.Requeued(from_start))


def delete(session: Session, id: TaskId) -> Result[TaskRecord, DeleteRefused]:
    """Remove a task that does not run, with its history; gives its last record."""
    found = session.get([id])
    if not found:
        return Failure(TaskNotFound(id))
    if session.delete([id]) == 0:
        return Failure(WrongState(TaskState.RUNNING))
    return Success(found[0])


def _carry_out(session: Session, plan: EnqueuePlan, now: datetime) -> tuple[Enqueued, ...]:
    waiting: list[Draft] = []
    for step in plan.steps:
        if isinstance(step, Draft):
            waiting.append(step)
            continue
        # The key must be given up before its new holder comes in, and the old holder may be among those waiting.
        _insert(session, waiting, now)
        waiting = []
        session.write([step])
    _insert(session, waiting, now)
    return plan.answers


def _insert(session: Session, drafts: Sequence[Draft], now: datetime) -> None:
    # One by one as the store takes them: records are large, and thousands at once would only wait in memory.
    session.insert(draft.record(now) for draft in drafts)


def _change(session: Session, id: TaskId, event: Event) -> Result[TaskRecord, TaskNotFound | WrongState]:
    state = TaskState.PENDING
    for _ in range(_TRIES_MAX):
        found = session.get([id])
        if not found:
            return Failure(TaskNotFound(id))
        decision = transition(found[0], event, now=session.now())
        if isinstance(decision, WrongState):
            return Failure(decision)
        if decision.after is decision.before or session.write([decision]) == [True]:
            return Success(decision.after)
        state = found[0].state
    # Only a store that shows others' commits within a transaction can get here, and only if they never pause.
    return Failure(WrongState(state))
