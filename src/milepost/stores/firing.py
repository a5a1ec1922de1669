"""Fires schedules: reads those that are due, asks `schedules.firing`, and enqueues, in the caller's transaction.

Any executor fires any schedule. Of several that look at one at the same time, one writes its row, and only who has
written it goes on. Nobody ends the previous task meanwhile: who fires has locked it, or waits for who ends it, and who
ends it then waits for the row. So either this sees the end, or the other one sees the instant that is queued now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeAlias, final

import attrs
from attrs import frozen
from returns.result import Success

from milepost.clock import later
from milepost.lifecycle import events
from milepost.lifecycle.change import Transition
from milepost.lifecycle.draft import Draft
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.transition import transition
from milepost.payload import legible
from milepost.schedules.firing import fire
from milepost.schedules.standing import look_at
from milepost.schedules.template import RequestTemplate, template_from_json
from milepost.schedules.terms import terms_from_json
from milepost.stores.enqueueing import Step
from milepost.stores.flow_tables import ScheduleRow
from milepost.stores.intake import NoRoom, RoomAwaited, carry_out
from milepost.stores.protocol import Session
from milepost.telemetry import ScheduleFailed, ScheduleFired

BATCH: Final = 100
"""So many schedules are looked at in one transaction."""

_RETRY_FIRST: Final = timedelta(seconds=1)
_RETRY_LONGEST: Final = timedelta(minutes=1)
_DOUBLINGS_MAX: Final = 10

Fired: TypeAlias = ScheduleFired | ScheduleFailed


def until_due(session: Session) -> timedelta | None:
    """How long it takes until a schedule is due; None when none will be."""
    due_at = session.schedules.next_due()
    return None if due_at is None else max(timedelta(0), due_at - session.now())


def fire_due(session: Session, *, now: datetime, limit: int = BATCH) -> list[Fired]:
    """Fire the schedules that are due; one that cannot fire is put off, and keeps nobody else from firing."""
    return _fire(session, session.schedules.due(now=now, limit=limit), now)


def fire_one(session: Session, key: str, *, now: datetime) -> list[Fired]:
    """Fire one schedule if it is due."""
    rows = session.schedules.get([key]).values()
    return _fire(session, [row for row in rows if row.due_at is not None and row.due_at <= now], now)


def put_off(session: Session, key: str, reason: str, *, now: datetime) -> list[Fired]:
    """Keep why the store would not let a schedule fire, and look at it again later."""
    return [failed for row in session.schedules.get([key]).values() if (failed := _put_off(session, row, reason, now))]


@final
@frozen
class _Plan:
    """What one schedule does: its row as it is written, whom it cancels, and what it enqueues."""

    row: ScheduleRow
    cancels: tuple[Transition, ...]
    drafts: tuple[Draft, ...]


def _fire(session: Session, rows: Sequence[ScheduleRow], now: datetime) -> list[Fired]:
    previous = _previous(session, rows)
    return [fired for row in rows for fired in _fire_row(session, row, previous, now)]


def _previous(session: Session, rows: Sequence[ScheduleRow]) -> dict[TaskId, TaskRecord]:
    ids = sorted({row.latest_task for row in rows if row.latest_task is not None})
    return {record.id: record for record in session.get(ids)} if ids else {}


def _fire_row(
    session: Session, row: ScheduleRow, previous: Mapping[TaskId, TaskRecord], now: datetime
) -> Sequence[Fired]:
    plan = _plan(row, previous.get(row.latest_task) if row.latest_task is not None else None, now)
    if isinstance(plan, str):
        failed = _put_off(session, row, plan, now)
        return [failed] if failed else []
    if not session.schedules.write(plan.row):
        return []  # somebody else has fired it, or says something else of it
    refused = _carry_out(session, (*plan.cancels, *plan.drafts), now)
    if refused is not None:
        failed = _put_off(session, attrs.evolve(row, revision=row.revision + 1), refused, now)
        return [failed] if failed else []
    return [ScheduleFired(row.key, draft.name, draft.id, draft.schedule_at or now) for draft in plan.drafts]


def _carry_out(session: Session, steps: Sequence[Step], now: datetime) -> str | None:
    """Why there is no room for it, if there is none; else it is done."""
    carried = carry_out(session, steps, now=now) if steps else Success(None)
    return None if isinstance(carried, Success) else _told(carried.failure())


def _told(refusal: NoRoom) -> str:
    """Which queue is full. What a schedule enqueues waits nowhere: its schedule is looked at again."""
    return str(refusal.full if isinstance(refusal, RoomAwaited) else refusal)


def _plan(row: ScheduleRow, previous: TaskRecord | None, now: datetime) -> _Plan | str:
    """What the schedule does now, or why it cannot do anything."""
    terms, template = terms_from_json(row.terms_json), template_from_json(row.request_json)
    if not isinstance(terms, Success):
        return f"its terms cannot be read: {terms.failure()}"
    if not isinstance(template, Success):
        return f"its request cannot be read: {template.failure()}"
    try:
        firing = fire(terms.unwrap(), row.state, now, None if previous is None else previous.state)
    except Exception as error:  # whatever is wrong with one definition, or with the zones of this machine
        return f"its instants cannot be told: {type(error).__name__}: {legible(error)}"
    drafts = tuple(scheduled(template.unwrap(), row.key, instant) for instant in firing.fires)
    after = attrs.evolve(
        row,
        state=firing.state,
        latest_task=drafts[-1].id if drafts else row.latest_task,
        due_at=look_at(firing.state, now),
        errors=0,
        error="",
    )
    return _Plan(after, _cancels(previous, now) if firing.cancels_previous else (), drafts)


def scheduled(template: RequestTemplate, key: str, instant: datetime | None) -> Draft:
    """What the schedule enqueues for an instant, or for None when it is triggered."""
    return template.draft()._replace(schedule=key, schedule_at=instant)


def _cancels(previous: TaskRecord | None, now: datetime) -> tuple[Transition, ...]:
    if previous is None:
        return ()
    asked = transition(previous, events.CancelRequested("the next instant of its schedule has come"), now=now)
    return (asked,) if isinstance(asked, Transition) and asked.after is not asked.before else ()


def _put_off(session: Session, row: ScheduleRow, reason: str, now: datetime) -> ScheduleFailed | None:
    retry_at = later(now, min(_RETRY_FIRST * 2 ** min(row.errors, _DOUBLINGS_MAX), _RETRY_LONGEST))
    after = attrs.evolve(row, due_at=retry_at, errors=row.errors + 1, error=reason)
    return ScheduleFailed(row.key, row.name, reason, retry_at) if session.schedules.write(after) else None
