"""The verbs that clients and executors share, over any session: read, decide purely, write.

Each decides everything before it writes anything, so a refusal leaves the caller's transaction as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple, TypeAlias, final

from attrs import frozen
from returns.result import Failure, Result, Success

from milepost.lifecycle import events
from milepost.lifecycle.change import Transition
from milepost.lifecycle.draft import Draft, OnConflict
from milepost.lifecycle.events import Event
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.refusals import (
    CancelAccepted,
    CancelRefused,
    DeleteRefused,
    IdTaken,
    KeyTaken,
    RequeueRefused,
    TaskNotFound,
    WrongState,
)
from milepost.lifecycle.states import TaskState
from milepost.lifecycle.transition import transition
from milepost.stores.filter import TaskFilter
from milepost.stores.intake import NoRoom, Step, carry_out
from milepost.stores.protocol import Session

_TRIES_MAX = 20

Key: TypeAlias = tuple[str, str]


@final
class Enqueued(NamedTuple):
    """What became of a request: a new task, or the live one that holds its key. A tuple: there are very many."""

    id: TaskId
    created: bool


@final
@frozen
class EnqueuePlan:
    """What an enqueue will do, in order."""

    steps: tuple[Step, ...]
    answers: tuple[Enqueued, ...]


def plan_enqueue(
    drafts: Sequence[Draft],
    holders: Mapping[Key, TaskRecord],
    *,
    now: datetime,
    known: Mapping[TaskId, TaskRecord] = MappingProxyType({}),
) -> Result[EnqueuePlan, KeyTaken | IdTaken]:
    """Decide what `drafts` become, all or none, where `holders` are the live tasks that hold their keys, and `known`
    the tasks that have one of the ids that they were given."""
    held = dict(holders)
    firsts = {id: (record.name, record.metadata_json) for id, record in known.items()}
    answered = {id: id for id in known}
    steps: list[Step] = []
    answers: list[Enqueued] = []
    for draft in drafts:
        if draft.id in answered:
            if firsts[draft.id] != (draft.name, draft.metadata_json):
                return Failure(IdTaken(draft.id, firsts[draft.id][0]))
            answers.append(Enqueued(answered[draft.id], created=False))
            continue
        if draft.replays:
            firsts[draft.id] = draft.name, draft.metadata_json
            answered[draft.id] = draft.id
        if draft.key is not None:
            holder = held.get((draft.name, draft.key))
            if holder is not None and draft.on_conflict is OnConflict.KEEP:
                answered[draft.id] = holder.id  # if it comes once more
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


def enqueue(session: Session, drafts: Sequence[Draft]) -> Result[tuple[Enqueued, ...], KeyTaken | IdTaken | NoRoom]:
    """Insert `drafts`, all or none; one whose key is held becomes what its conflict policy says, one whose id is there
    already is not inserted again, and one whose queue is full goes where the queue's settings say."""
    keys = [(draft.name, draft.key) for draft in drafts if draft.key is not None]
    given = [draft.id for draft in drafts if draft.replays]
    # An id that is free has no row to lock. Held like a key, of a name that no task has, two calls take it in turn.
    keys += [("", id) for id in given]
    holders = session.holders(keys) if keys else {}
    known = {record.id: record for record in session.get(given)} if given else {}
    now = session.now()
    planned = plan_enqueue(drafts, holders, now=now, known=known)
    if not isinstance(planned, Success):
        return Failure(planned.failure())
    plan = planned.unwrap()
    return carry_out(session, plan.steps, now=now).map(lambda _: plan.answers)


def cancel(session: Session, id: TaskId, reason: str, by: str = "") -> Result[CancelAccepted, CancelRefused]:
    """End a waiting, suspended or quarantined task now; ask the owner of a running one."""
    return _change(session, id, events.CancelRequested(reason, by)).map(lambda after: CancelAccepted(id, after.state))


def requeue(
    session: Session, id: TaskId, *, from_start: bool, reason: str = "", by: str = ""
) -> Result[TaskRecord, RequeueRefused]:
    """Open a new epoch of a final or quarantined task, if its key is still free."""
    # Keys are locked before rows, as an enqueue does: `get` would lock the row, a search locks nothing.
    found = session.search(TaskFilter(ids=(id,)), limit=1)
    if found and found[0].key is not None:
        key = (found[0].name, found[0].key)
        holder = session.holders([key]).get(key)
        if holder is not None and holder.id != id:
            return Failure(KeyTaken(*key, holder.id))
    return _change(session, id, events.Requeued(from_start, reason, by))


def delete(session: Session, id: TaskId) -> Result[TaskRecord, DeleteRefused]:
    """Remove a task that does not run, with its history; gives its last record."""
    found = session.get([id])
    if not found:
        return Failure(TaskNotFound(id))
    if session.delete([id]) == 0:
        return Failure(WrongState(TaskState.RUNNING))
    return Success(found[0])


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
