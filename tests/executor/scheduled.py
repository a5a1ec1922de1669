"""Schedules on a clock of the test's own, on any store: what executors do at a moment, without executors."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar, cast, final

from milepost import Audit, Empty, Schedule, ScheduleInfo, Store, Success, TaskRecord, TaskRequest, TaskResult, task
from milepost.client import schedule_info
from milepost.lifecycle.change import Transition
from milepost.lifecycle.events import Event
from milepost.lifecycle.transition import Policy, transition
from milepost.stores import flow
from milepost.stores.filter import TaskFilter
from milepost.stores.firing import Fired, fire_due
from milepost.stores.flow_tables import ScheduleRow
from milepost.stores.protocol import Session

T = TypeVar("T")
AnySchedule = Schedule[Any, Any, Any, Any]

_EVERYTHING = 10_000


@task(name="tidy")
def tidy(_: Empty, __: Empty) -> TaskResult[Empty, Empty]:
    return Success.with_empty_result().for_empty_error()


REQUEST: TaskRequest[Empty, Empty, Empty, Empty] = tidy.with_metadata(Empty())


def at(moment: datetime, function: Callable[[Session], T]) -> Callable[[Session], T]:
    """`function` of a session whose clock shows `moment`."""
    return lambda session: function(cast("Session", _Standing(session, moment)))


async def put(store: Store, moment: datetime, *schedules: AnySchedule) -> list[ScheduleInfo]:
    """Schedule these at `moment`."""
    definitions = [schedule_info.definition_of(each, Audit.NONE).unwrap() for each in schedules]
    verbs = [at(moment, schedule_info.schedule(each)) for each in definitions]
    return await store.transact(lambda session: [verb(session) for verb in verbs])


async def look(store: Store, moment: datetime) -> list[Fired]:
    """What an executor does at `moment`."""
    return await store.transact(lambda session: fire_due(session, now=moment))


async def row_of(store: Store, key: str) -> ScheduleRow:
    """The schedule as it is stored."""
    return await store.read(lambda session: session.schedules.get([key])[key])


async def tasks_of(store: Store, key: str) -> list[TaskRecord]:
    """What the schedule has enqueued, in order."""
    wanted = TaskFilter(schedules=(key,))
    return await store.read(lambda session: session.search(wanted, limit=_EVERYTHING))


async def happens(store: Store, moment: datetime, record: TaskRecord, *events: Event) -> TaskRecord:
    """Let these happen to the task, one after the other, as its executor would write them."""

    def written(session: Session) -> TaskRecord:
        (now,) = session.get([record.id])
        for event in events:
            decided = transition(now, event, now=moment, policy=Policy())
            assert isinstance(decided, Transition), decided
            assert flow.write(session, [decided], now=moment) == [True]
            now = decided.after
        return now

    return await store.transact(written)


@final
class _Standing:
    def __init__(self, session: Session, moment: datetime) -> None:
        self._session = session
        self._moment = moment

    def now(self) -> datetime:
        return self._moment

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)
