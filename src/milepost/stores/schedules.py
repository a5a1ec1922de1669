"""What programs say of schedules: read, decide purely, write guarded; asked again where somebody else was quicker."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from enum import Enum
from typing import Final, final

import attrs
from attrs import field, frozen
from returns.result import Failure, Result, Success

from milepost.errors import StoreBusy
from milepost.lifecycle.record import TaskId
from milepost.lifecycle.refusals import QueueFull, ScheduleNotFound, ScheduleUnreadable, TriggerRefused
from milepost.payload import JsonText
from milepost.schedules import standing
from milepost.schedules.standing import ScheduleState, begin, look_at, redefine
from milepost.schedules.template import RequestTemplate, template_from_json, template_to_json
from milepost.schedules.terms import Terms, terms_from_json, terms_to_json
from milepost.stores.firing import scheduled
from milepost.stores.flow_tables import ScheduleRow
from milepost.stores.intake import RoomAwaited, carry_out
from milepost.stores.protocol import Session

_TRIES_MAX: Final = 20


class ScheduleChange(Enum):
    """What became of a definition."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


@final
@frozen
class Definition:
    """A schedule, encoded."""

    key: str
    terms: Terms
    template: RequestTemplate
    terms_json: JsonText = field(init=False, repr=False, eq=False)
    request_json: JsonText = field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "terms_json", terms_to_json(self.terms))
        object.__setattr__(self, "request_json", template_to_json(self.template))

    def is_of(self, row: ScheduleRow) -> bool:
        """Whether this is how the row is defined already."""
        return (row.terms_json, row.request_json) == (self.terms_json, self.request_json)


@final
@frozen
class Put:
    """A schedule as it is stored now, and what its definition has changed."""

    row: ScheduleRow
    change: ScheduleChange


def put(session: Session, definition: Definition) -> Put:
    """Store a schedule, or redefine the one of that key; the same definition once more changes nothing."""
    now = session.now()
    for _ in range(_TRIES_MAX):
        row = session.schedules.get([definition.key]).get(definition.key)
        if row is None:
            row = _begun(definition, now)
            if session.schedules.insert(row):
                return Put(row, ScheduleChange.CREATED)
        elif definition.is_of(row):
            return Put(row, ScheduleChange.UNCHANGED)
        else:
            after = _redefined(row, definition, now)
            if session.schedules.write(after):
                return Put(_next(after), ScheduleChange.CHANGED)
    raise _restless(definition.key)


def put_all(session: Session, definitions: Iterable[Definition], *, prune: bool) -> tuple[list[Put], list[ScheduleRow]]:
    """Store these schedules, and with `prune` remove all others; gives both, by key."""
    stored = [put(session, each) for each in sorted(definitions, key=lambda each: each.key)]
    wanted = {each.row.key for each in stored}
    others = [row for row in session.schedules.all() if row.key not in wanted] if prune else []
    removed = set(session.schedules.delete([row.key for row in others])) if others else set[str]()
    return stored, [row for row in others if row.key in removed]


def remove(session: Session, key: str) -> Result[ScheduleRow, ScheduleNotFound]:
    """Forget a schedule; what it has enqueued stays. Gives what it was."""
    row = session.schedules.get([key]).get(key)
    if row is None or not session.schedules.delete([key]):
        return Failure(ScheduleNotFound(key))
    return Success(row)


def pause(session: Session, key: str) -> Result[ScheduleRow, ScheduleNotFound]:
    """Let a schedule fire nothing until it is resumed."""
    now = session.now()

    def paused(row: ScheduleRow) -> ScheduleRow:
        state = standing.pause(row.state, now)
        return row if state is row.state else attrs.evolve(row, state=state, due_at=None)

    return _change(session, key, paused)


def resume(session: Session, key: str) -> Result[ScheduleRow, ScheduleNotFound]:
    """Let a schedule fire again; instants of the pause are not missed."""
    now = session.now()

    def resumed(row: ScheduleRow) -> ScheduleRow:
        if row.state.paused_at is None:
            return row
        terms = terms_from_json(row.terms_json)
        if not isinstance(terms, Success):  # who looks at it next will say so
            state = attrs.evolve(row.state, paused_at=None, handled_until=max(row.state.handled_until, now))
            return attrs.evolve(row, state=state, due_at=now)
        return _standing(row, standing.resume(terms.unwrap(), row.state, now), now)

    return _change(session, key, resumed)


def trigger(session: Session, key: str) -> Result[TaskId, TriggerRefused]:
    """Enqueue the schedule's request now. It becomes the previous task of the next instant, and counts as no run."""
    row = session.schedules.get([key]).get(key)
    if row is None:
        return Failure(ScheduleNotFound(key))
    template = template_from_json(row.request_json)
    if not isinstance(template, Success):
        return Failure(ScheduleUnreadable(key, str(template.failure())))
    draft = scheduled(template.unwrap(), key, None)
    now = session.now()
    carried = carry_out(session, [draft], now=now)
    if not isinstance(carried, Success):
        return Failure(_full(carried.failure()))
    _change(session, key, lambda row: _standing(attrs.evolve(row, latest_task=draft.id), row.state, now))
    return Success(draft.id)


def _full(refusal: QueueFull | RoomAwaited) -> QueueFull:
    return refusal.full if isinstance(refusal, RoomAwaited) else refusal


def _change(
    session: Session, key: str, change: Callable[[ScheduleRow], ScheduleRow]
) -> Result[ScheduleRow, ScheduleNotFound]:
    for _ in range(_TRIES_MAX):
        row = session.schedules.get([key]).get(key)
        if row is None:
            return Failure(ScheduleNotFound(key))
        after = change(row)
        if after is row:
            return Success(row)
        if session.schedules.write(after):
            return Success(_next(after))
    raise _restless(key)


def _begun(definition: Definition, now: datetime) -> ScheduleRow:
    state = begin(definition.terms, now)
    return ScheduleRow(
        key=definition.key,
        name=definition.template.name,
        terms_json=definition.terms_json,
        request_json=definition.request_json,
        state=state,
        due_at=look_at(state, now),
    )


def _redefined(row: ScheduleRow, definition: Definition, now: datetime) -> ScheduleRow:
    before = terms_from_json(row.terms_json).value_or(None)
    changed = attrs.evolve(
        row,
        name=definition.template.name,
        terms_json=definition.terms_json,
        request_json=definition.request_json,
        errors=0,
        error="",
    )
    return _standing(changed, redefine(before, definition.terms, row.state, now), now)


def _standing(row: ScheduleRow, state: ScheduleState, now: datetime) -> ScheduleRow:
    """The row in a state that somebody has just decided on without a look at the previous task."""
    # That may have ended since the row was read, which is a reason to look at a queued instant.
    due_at = now if state.queued_at is not None and state.paused_at is None else look_at(state, now)
    if row.errors and row.due_at is not None and state is row.state:
        due_at = row.due_at  # it is being put off
    return attrs.evolve(row, state=state, due_at=due_at)


def _next(written: ScheduleRow) -> ScheduleRow:
    return attrs.evolve(written, revision=written.revision + 1)


def _restless(key: str) -> StoreBusy:
    return StoreBusy(f"the schedule {key!r} changes all the time: somebody else writes it again and again; try again")
