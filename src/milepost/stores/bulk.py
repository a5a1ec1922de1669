"""Many tasks in one transaction: what was decided on each is written where it still is as it was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeAlias, final

import attrs
from attrs import frozen

from milepost.lifecycle.change import Transition
from milepost.lifecycle.events import Event, Requeued
from milepost.lifecycle.record import TaskId, TaskRecord, Version
from milepost.lifecycle.refusals import KeyTaken, TaskNotFound, WrongState
from milepost.lifecycle.states import TaskState
from milepost.lifecycle.transition import transition
from milepost.stores import flow
from milepost.stores.protocol import Session

Answer: TypeAlias = TaskRecord | TaskNotFound | WrongState | KeyTaken | None
"""The task as it is now, or why it was not changed; None where it is not as it was read, so all begins again."""


@final
@frozen
class Order:
    """What shall happen to a task that was read as `known`; None is its removal."""

    known: TaskRecord
    event: Event | None


def change(session: Session, orders: Sequence[Order]) -> list[Answer]:
    """Carry out each order whose task still is as it was read; one answer for each."""
    holders = _holders(session, orders)
    flow.lock_families(session, [order.known for order in orders if order.event is not None])
    fresh = {record.id: record for record in session.get([order.known.id for order in orders])}
    now = session.now()
    unfinished = _unfinished(session, orders)
    decided = [_decided(_rejoining(each, unfinished), fresh.get(each.known.id), holders, now) for each in orders]
    changes = [each for each in decided if isinstance(each, Transition) and each.after is not each.before]
    answers = flow.write(session, changes, now=now) if changes else ()
    written = dict(zip((each.after.id for each in changes), answers, strict=True))
    doomed = [each.id for each in decided if isinstance(each, TaskRecord)]
    if doomed:
        session.delete(doomed)
    return [_answer(each, written) for each in decided]


def _holders(session: Session, orders: Sequence[Order]) -> dict[tuple[str, str], TaskId]:
    """Who holds the keys that a requeue would take. Asked for before rows are, which is the order of all locks."""
    requeued = [order.known for order in orders if isinstance(order.event, Requeued)]
    keys = [(record.name, record.key) for record in requeued if record.key is not None]
    return {key: holder.id for key, holder in session.holders(keys).items()} if keys else {}


def _unfinished(session: Session, orders: Sequence[Order]) -> set[TaskId]:
    """Those whom a requeue would open though children that they waited for have not ended."""
    joined = [each.known.id for each in orders if isinstance(each.event, Requeued) and each.known.join is not None]
    return session.joins.unfinished(joined) if joined else set()


def _rejoining(order: Order, unfinished: set[TaskId]) -> Order:
    """The same; a requeue from the last commit waits for unfinished children again."""
    event = order.event
    if order.known.id not in unfinished or not isinstance(event, Requeued) or event.from_start or event.edited:
        return order
    return Order(order.known, attrs.evolve(event, rejoins=True))


def _decided(
    order: Order, found: TaskRecord | None, holders: dict[tuple[str, str], TaskId], now: datetime
) -> Transition | TaskRecord | TaskNotFound | WrongState | KeyTaken | None:
    if found is None:
        return TaskNotFound(order.known.id)
    if Version.of(found) != Version.of(order.known):
        return None
    if order.event is None:
        return WrongState(found.state) if found.state is TaskState.RUNNING or found.is_awaited else found
    decision = transition(found, order.event, now=now)
    if isinstance(order.event, Requeued) and isinstance(decision, Transition) and found.key is not None:
        # Of those that share a key in this call, the first has it.
        holder = holders.setdefault((found.name, found.key), found.id)
        if holder != found.id:
            return KeyTaken(found.name, found.key, holder)
    return decision


def _answer(
    decided: Transition | TaskRecord | TaskNotFound | WrongState | KeyTaken | None, written: Mapping[TaskId, bool]
) -> Answer:
    if not isinstance(decided, Transition):
        return decided
    return decided.after if written.get(decided.after.id, True) else None
