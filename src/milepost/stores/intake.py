"""Bounded intake: into which queue each new task goes, and what is refused because it has no room.

Only queues with a capacity are counted, by one enqueue at a time each; all others cost an enqueue nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypeAlias, final

import attrs
from attrs import frozen
from returns.result import Failure, Result, Success

from milepost.lifecycle.change import Transition
from milepost.lifecycle.draft import Draft
from milepost.lifecycle.queues import QueueSettings, WhenFull
from milepost.lifecycle.record import TaskId
from milepost.lifecycle.refusals import QueueFull
from milepost.stores.enqueueing import Step
from milepost.stores.flow import apply
from milepost.stores.protocol import Session

_AT_ONCE_MAX = 500
"""So many records are made before the store is asked; more are given to it one by one."""


@final
@frozen
class RoomAwaited:
    """The queue is full, and who enqueues is to wait until there is room. Nothing was inserted."""

    full: QueueFull


NoRoom: TypeAlias = QueueFull | RoomAwaited


def place(
    steps: Sequence[Step], bounded: Mapping[str, QueueSettings], waiting: Mapping[str, int]
) -> Result[tuple[Step, ...], NoRoom]:
    """Decide where the new tasks of `steps` go, all or none, where so many are `waiting` in the `bounded` queues.

    A task that another one replaces gives its place back. What would not fit into empty queues is not waited for.
    """
    placed = _place(steps, bounded, waiting)
    if isinstance(placed, Success):
        return placed
    refusal = placed.failure()
    if isinstance(refusal, RoomAwaited) and not isinstance(_place(steps, bounded, {}), Success):
        return Failure(refusal.full)
    return placed


def carry_out(session: Session, steps: Sequence[Step], *, now: datetime) -> Result[None, NoRoom]:
    """Insert and write what is planned, in order, all or nothing."""
    drafts = [step for step in steps if isinstance(step, Draft)]
    plain = len(drafts) == len(steps) <= _AT_ONCE_MAX and all(draft.waits_for is None for draft in drafts)
    if plain and session.insert_unbounded([each.record(now) for each in drafts]):
        return Success(None)
    bounded = _bounded(session, {draft.queue for draft in drafts})
    if bounded:
        session.settings.lock_intake([*bounded])
        waiting = {
            name: session.settings.waiting(name, most=(settings.capacity or 0) + len(steps))
            for name, settings in bounded.items()
        }
        placed = place(steps, bounded, waiting)
        if not isinstance(placed, Success):
            return Failure(placed.failure())
        steps = placed.unwrap()
    apply(session, steps, now=now)
    return Success(None)


def _place(
    steps: Sequence[Step], bounded: Mapping[str, QueueSettings], waiting: Mapping[str, int]
) -> Result[tuple[Step, ...], NoRoom]:
    filled = Counter(waiting)
    moved: dict[TaskId, str] = {}
    placed: list[Step] = []
    for step in steps:
        if isinstance(step, Transition):
            change = _in_queue(step, moved.get(step.before.id))
            filled[change.before.queue] -= change.before.due_at is not None
            placed.append(change)
            continue
        if step.waits_for:  # it does not wait for a slot yet, and what goes on is let in
            placed.append(step)
            continue
        found = _queue_with_room(step.queue, bounded, filled)
        if not isinstance(found, str):
            return Failure(found)
        filled[found] += 1
        if found != step.queue:
            moved[step.id] = found
        placed.append(step._replace(queue=found))
    return Success(tuple(placed))


def _queue_with_room(queue: str, bounded: Mapping[str, QueueSettings], filled: Mapping[str, int]) -> str | NoRoom:
    passed = {queue}
    while True:
        settings = bounded.get(queue)
        if settings is None or settings.capacity is None or filled[queue] < settings.capacity:
            return queue
        full = QueueFull(queue, settings.capacity)
        match settings.when_full:
            case WhenFull.WAIT:
                return RoomAwaited(full)
            case WhenFull.SPILL if settings.spill_to is not None and settings.spill_to not in passed:
                queue = settings.spill_to
                passed.add(queue)
            case _:
                return full


def _in_queue(change: Transition, queue: str | None) -> Transition:
    """A change of a task of the same batch, which another queue got."""
    if queue is None:
        return change
    moved = {"queue": queue}
    return attrs.evolve(change, before=change.before.changed(moved), after=change.after.changed(moved))


def _bounded(session: Session, queues: Iterable[str]) -> dict[str, QueueSettings]:
    """Those of `queues` that have a capacity, and those that they spill to."""
    bounded: dict[str, QueueSettings] = {}
    names = set(queues)
    while names:
        found = session.settings.get(sorted(names))
        bounded |= {name: settings for name, settings in found.items() if settings.capacity is not None}
        spilling = (settings for settings in bounded.values() if settings.when_full is WhenFull.SPILL)
        names = {settings.spill_to for settings in spilling if settings.spill_to is not None} - bounded.keys() - names
    return bounded
