"""`proceed` over any session: find the one task that is meant, and write what was decided while it is still as found.

Finding and writing are two steps, for user code may run between them, which no transaction waits for.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import attrs
from returns.result import Failure, Result, Success

from milepost.lifecycle import events
from milepost.lifecycle.record import TaskId, TaskRecord, Version
from milepost.lifecycle.refusals import SeveralTasksFound, TaskNotFound, WrongState
from milepost.lifecycle.states import LIVE_STATES
from milepost.lifecycle.transition import transition
from milepost.stores import flow
from milepost.stores.filter import TaskFilter, TaskOrder
from milepost.stores.protocol import Session

Wanted: TypeAlias = TaskId | TaskFilter
"""Which task: the one with this id, or the only live one that matches."""

_NAMED_MAX: Final = 10


def find(session: Session, wanted: Wanted) -> Result[TaskRecord, TaskNotFound | SeveralTasksFound]:
    """The task that is meant. A filter must match exactly one live task; final ones are none of its matches."""
    if isinstance(wanted, str):
        found = session.get([wanted])
        return Success(found[0]) if found else Failure(TaskNotFound(wanted))
    found = session.search(live_of(wanted), limit=_NAMED_MAX)
    match found:
        case []:
            return Failure(TaskNotFound())
        case [record]:
            return Success(record)
        case _:
            return Failure(SeveralTasksFound(tuple(record.id for record in found)))


def write(
    session: Session, known: TaskRecord, event: events.Proceeded
) -> Result[TaskRecord, TaskNotFound | WrongState] | None:
    """Carry out `event`; None when the task is not as `known` any more, so that what was decided on it is void."""
    found = session.get([known.id])
    if not found:
        return Failure(TaskNotFound(known.id))
    if Version.of(found[0]) != Version.of(known):
        return None
    now = session.now()
    decision = transition(found[0], event, now=now)
    if isinstance(decision, WrongState):
        return Failure(decision)
    if decision.after is decision.before or flow.write(session, [decision], now=now) == [True]:
        return Success(decision.after)
    return None


def live_of(wanted: TaskFilter) -> TaskFilter:
    """The live ones among what `wanted` asks for, wherever its pages begin."""
    asked = LIVE_STATES if wanted.states is None else LIVE_STATES & set(wanted.states)
    states = tuple(sorted(asked, key=lambda state: state.value))
    return attrs.evolve(wanted, states=states, order=TaskOrder.OLDEST_FIRST, cursor=None)
