"""The verbs that clients and executors share, over any session: read, decide purely, write.

Each decides everything before it writes anything, so a refusal leaves the caller's transaction as it was.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

import attrs
from returns.result import Failure, Result, Success

from milepost.errors import StoreError
from milepost.lifecycle import events
from milepost.lifecycle.change import Decision, Transition
from milepost.lifecycle.draft import Draft
from milepost.lifecycle.events import CancelRequested, Event, Requeued
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
from milepost.lifecycle.requeueing import may_be_requeued
from milepost.lifecycle.states import TaskState
from milepost.lifecycle.transition import transition
from milepost.stores import flow
from milepost.stores.enqueueing import Enqueued, look_up, plan_enqueue
from milepost.stores.filter import TaskFilter
from milepost.stores.intake import NoRoom, carry_out
from milepost.stores.protocol import Session
from milepost.stores.trees import locked_tree, without_companions

_TRIES_MAX: Final = 20
_ALL: Final = sys.maxsize
_UNSUCCESSFUL: Final = (TaskState.FAILED, TaskState.CANCELLED, TaskState.QUARANTINED)


def enqueue(session: Session, drafts: Sequence[Draft]) -> Result[tuple[Enqueued, ...], KeyTaken | IdTaken | NoRoom]:
    """Insert `drafts`, all or none; one whose key is held becomes what its conflict policy says, one whose id is there
    already is not inserted again, and one whose queue is full goes where the queue's settings say."""
    found = look_up(session, drafts)
    now = session.now()
    planned = plan_enqueue(drafts, found, now=now)
    if not isinstance(planned, Success):
        return Failure(planned.failure().reason)
    plan = planned.unwrap()
    return carry_out(session, plan.steps, now=now).map(lambda _: plan.answers)


def cancel(
    session: Session, id: TaskId, reason: str, by: str = "", *, descendants: bool = False
) -> Result[CancelAccepted, CancelRefused]:
    """End a waiting, suspended or quarantined task now; ask the owner of a running one. With its descendants, one that
    has ended is refused only if all of them have ended as well."""
    if descendants:
        return _cancel_tree(session, id, events.CancelRequested(reason, by, tree=True))
    flow.lock_families(session, session.search(TaskFilter(ids=(id,)), limit=1))
    return _change(session, id, events.CancelRequested(reason, by)).map(lambda after: CancelAccepted(id, after.state))


def requeue(
    session: Session, id: TaskId, *, from_start: bool, reason: str = "", by: str = "", descendants: bool = False
) -> Result[TaskRecord, RequeueRefused]:
    """Open a new epoch of a final or quarantined task, if its key is still free; with its descendants, also of those
    that have not succeeded."""
    event = events.Requeued(from_start, reason, by)
    # Keys are locked before rows, as an enqueue does: `get` would lock the row, a search locks nothing.
    found = session.search(TaskFilter(ids=(id,)), limit=1)
    if descendants:
        below = TaskFilter(ids=tuple(session.joins.descendants([id])), states=_UNSUCCESSFUL)
        found = _newest_of_each_key(found + session.search(below, limit=_ALL))
    taken = _taken_key(session, found)
    if taken is not None:
        return Failure(taken)
    flow.lock_families(session, found)
    meant = {record.id for record in found}
    return _requeue_tree(session, id, event, meant) if descendants else _change(session, id, event)


def _newest_of_each_key(records: Sequence[TaskRecord]) -> list[TaskRecord]:
    """Of those that had the same key one after the other only the last one can live; the first of all stays."""
    newest = {(record.name, record.key): record.id for record in sorted(records[1:], key=lambda each: each.created_at)}
    newest |= {(record.name, record.key): record.id for record in records[:1]}
    return [each for each in records if each.key is None or newest[each.name, each.key] == each.id]


def _taken_key(session: Session, records: Sequence[TaskRecord]) -> KeyTaken | None:
    """Why not all of these can live, if so: another task holds the key of one."""
    owners = {(record.name, record.key): record.id for record in records if record.key is not None}
    for key, holder in (session.holders(list(owners)) if owners else {}).items():
        if holder.id != owners[key]:
            return KeyTaken(*key, holder.id)
    return None


def rejoining(session: Session, records: Sequence[TaskRecord], event: Requeued) -> list[Requeued]:
    """What opening each of `records`, and all of them together, is: one waits again for children that are unfinished,
    or are opened with it."""
    joined = [] if event.from_start or event.edited else [record.id for record in records if record.join is not None]
    if not joined:
        return [event] * len(records)
    again = session.joins.unfinished(joined) | ({record.parent for record in records} & set(joined))
    return [attrs.evolve(event, rejoins=record.id in again) for record in records]


def delete(session: Session, id: TaskId) -> Result[TaskRecord, DeleteRefused]:
    """Remove a task that does not run, with its history; gives its last record."""
    found = session.get([id])
    if not found:
        return Failure(TaskNotFound(id))
    if session.delete([id]) == 0:
        return Failure(WrongState(found[0].state))
    return Success(found[0])


def _change(session: Session, id: TaskId, event: Event) -> Result[TaskRecord, TaskNotFound | WrongState]:
    state = TaskState.PENDING
    for _ in range(_TRIES_MAX):
        found = session.get([id])
        if not found:
            return Failure(TaskNotFound(id))
        decision = _decided(session, found, event)[0]
        if isinstance(decision, WrongState):
            return Failure(decision)
        if decision.after is decision.before or flow.write(session, [decision], now=session.now()) == [True]:
            # Who waits again may have gone on already.
            return Success(session.get([id])[0] if decision.after.waits_for_children else decision.after)
        state = found[0].state
    # Only a store that shows others' commits within a transaction can get here, and only if they never pause.
    return Failure(WrongState(state))


def _decided(session: Session, found: Sequence[TaskRecord], event: Event) -> list[Decision]:
    """What `event` makes of all these."""
    asked = rejoining(session, found, event) if isinstance(event, Requeued) else [event] * len(found)
    now = session.now()
    return [transition(record, each, now=now) for record, each in zip(found, asked, strict=True)]


def _cancel_tree(session: Session, id: TaskId, event: CancelRequested) -> Result[CancelAccepted, CancelRefused]:
    known = session.search(TaskFilter(ids=(id,)), limit=1)
    flow.lock_families(session, known, parents=[id, *session.joins.descendants([id])])
    tree = without_companions(locked_tree(session, [id]), [id])
    if not tree or tree[0].id != id:
        return Failure(TaskNotFound(id))
    now = session.now()
    decisions = [transition(record, event, now=now) for record in tree]
    changes = [each for each in decisions if isinstance(each, Transition)]
    if not changes:
        return Failure(WrongState(tree[0].state))
    _write_all(session, changes, now)
    first = decisions[0]
    state = first.after.state if isinstance(first, Transition) else first.state
    return Success(CancelAccepted(id, state, descendants=sum(each.after.id != id for each in changes)))


def _requeue_tree(
    session: Session, id: TaskId, event: Requeued, meant: Collection[TaskId]
) -> Result[TaskRecord, RequeueRefused]:
    tree = locked_tree(session, [id])
    if not tree or tree[0].id != id:
        return Failure(TaskNotFound(id))
    if not may_be_requeued(tree[0]):
        return Failure(WrongState(tree[0].state))
    opened = [tree[0], *(each for each in tree[1:] if each.id in meant and each.state in _UNSUCCESSFUL)]
    changes = [each for each in _decided(session, opened, event) if isinstance(each, Transition)]
    _write_all(session, changes, session.now())
    return Success(session.get([id])[0])  # it may have gone on already


def _write_all(session: Session, changes: Sequence[Transition], now: datetime) -> None:
    """Write what was decided on locked rows. Those who wait end, or wait again, along with those whom they wait for."""
    changes = [each for each in changes if each.after is not each.before]
    if not all(flow.write(session, changes, now=now)):
        raise StoreError("a task has changed in a transaction that had read, and so locked it; nothing was written")
