"""Schedules as a program sees them, and what it says of them as functions of a session that both clients call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import Any, TypeAlias, TypeVar, final

from attrs import field, frozen
from returns.result import Failure, Result, Success

from milepost.codec.scalars import shown
from milepost.errors import ConfigurationError
from milepost.kinds import is_a
from milepost.lifecycle.record import Audit, TaskId
from milepost.lifecycle.refusals import ScheduleNotFound, TriggerRefused
from milepost.payload import PayloadRefused, storable_text
from milepost.schedules.standing import ScheduleState, preview
from milepost.schedules.template import RequestTemplate
from milepost.schedules.terms import Terms, terms_from_json
from milepost.stores import schedules as stored
from milepost.stores.flow_tables import ScheduleRow
from milepost.stores.protocol import Session
from milepost.stores.schedules import Definition, ScheduleChange
from milepost.tasks.schedule import Schedule

T = TypeVar("T")

AnySchedule: TypeAlias = Schedule[Any, Any, Any, Any]
ScheduleTarget: TypeAlias = str | AnySchedule
"""A schedule by its key, or by its definition."""
Verb: TypeAlias = Callable[[Session], T]


@final
@frozen(kw_only=True)
class ScheduleInfo:
    """One schedule as it is stored: of which task, and when, in words.

    `next_at` is when it fires next: None while it is paused, and when it has ended. An instant that is `queued_at`
    waits for the end of the `latest_task`. `runs` counts the tasks that were enqueued for instants, `skipped` the
    instants that were missed or came too soon. `error` says why it could not fire when it was last looked at, which has
    failed `errors` times in a row; it is empty when all is well.
    """

    key: str
    name: str
    terms: str
    next_at: datetime | None
    queued_at: datetime | None
    paused_at: datetime | None
    has_ended: bool
    runs: int
    skipped: int
    latest_task: TaskId | None
    errors: int
    error: str
    _now: datetime = field(repr=False, alias="now")
    _state: ScheduleState = field(repr=False, alias="state")
    _definition: Terms | None = field(repr=False, alias="definition")

    @property
    def is_paused(self) -> bool:
        """Whether it fires nothing until it is resumed."""
        return self.paused_at is not None

    def next_instants(self, count: int) -> list[datetime]:
        """Up to `count` instants that come next, in UTC, counted from when this was asked for.

        Of a paused schedule as if it was resumed then; of one whose definition this program cannot read, none. Raises
        `ConfigurationError` for a negative count.
        """
        if type(count) is not int or count < 0:
            raise ConfigurationError(f"next_instants() needs a count of 0 or more, got {count!r}")
        return [] if self._definition is None else preview(self._definition, self._state, self._now, count)

    def __str__(self) -> str:
        return f"{self.key}: {self.name}, {self.terms}"


@final
@frozen(kw_only=True)
class ScheduleSync:
    """What `sync_schedules` did: the keys of each kind, sorted. `ended` are those that never fire again as they are."""

    created: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()


def definition_of(schedule: AnySchedule, audit: Audit) -> Result[Definition, PayloadRefused]:
    """The schedule, encoded. Raises `TaskDefinitionError` where its request lacks execution metadata."""
    if type(schedule) is not Schedule:
        raise ConfigurationError(
            f"a schedule is a Schedule, as Schedule('nightly', task.with_metadata(...), daily()), got {shown(schedule)}"
        )
    draft = schedule.request.draft(audit)
    if isinstance(draft, PayloadRefused):
        return Failure(PayloadRefused(f"the request of the schedule {schedule.key!r}: {draft.path}", draft.reason))
    return Success(Definition(schedule.key, schedule.terms, RequestTemplate.of(draft)))


def definitions_of(schedules: Iterable[AnySchedule], audit: Audit) -> Result[list[Definition], PayloadRefused]:
    """All of them, encoded, or the first refusal. Raises `ConfigurationError` for two of one key."""
    if not hasattr(schedules, "__iter__"):
        raise ConfigurationError(f"sync_schedules() takes a list of schedules, got {shown(schedules)}")
    definitions: list[Definition] = []
    for schedule in schedules:
        definition = definition_of(schedule, audit)
        if not isinstance(definition, Success):
            return Failure(definition.failure())
        definitions.append(definition.unwrap())
    twice = [key for key, times in Counter(each.key for each in definitions).items() if times > 1]
    if twice:
        raise ConfigurationError(f"these keys have more than one schedule each: {', '.join(map(repr, twice))}")
    return Success(definitions)


def schedule(definition: Definition) -> Verb[ScheduleInfo]:
    """Store or redefine a schedule."""
    return lambda session: _info(stored.put(session, definition).row, session.now())


def sync(definitions: Iterable[Definition], *, prune: bool) -> Verb[ScheduleSync]:
    """Store or redefine all of these, and with `prune` remove the others."""
    if type(prune) is not bool:
        raise ConfigurationError(f"prune is True to remove all other schedules, or False, got {shown(prune)}")
    kept = list(definitions)

    def verb(session: Session) -> ScheduleSync:
        put, removed = stored.put_all(session, kept, prune=prune)
        keys = {change: tuple(each.row.key for each in put if each.change is change) for change in ScheduleChange}
        return ScheduleSync(
            created=keys[ScheduleChange.CREATED],
            changed=keys[ScheduleChange.CHANGED],
            unchanged=keys[ScheduleChange.UNCHANGED],
            removed=tuple(row.key for row in removed),
            ended=tuple(each.row.key for each in put if each.row.state.has_ended),
        )

    return verb


def unschedule(target: ScheduleTarget) -> Verb[Result[ScheduleInfo, ScheduleNotFound]]:
    """Forget a schedule."""
    return _told(partial(stored.remove, key=_key_of(target)))


def pause(target: ScheduleTarget) -> Verb[Result[ScheduleInfo, ScheduleNotFound]]:
    """Let a schedule fire nothing."""
    return _told(partial(stored.pause, key=_key_of(target)))


def resume(target: ScheduleTarget) -> Verb[Result[ScheduleInfo, ScheduleNotFound]]:
    """Let a schedule fire again."""
    return _told(partial(stored.resume, key=_key_of(target)))


def trigger(target: ScheduleTarget) -> Verb[Result[TaskId, TriggerRefused]]:
    """Enqueue a schedule's request now."""
    return partial(stored.trigger, key=_key_of(target))


def schedules(session: Session) -> list[ScheduleInfo]:
    """Every schedule, by key."""
    now = session.now()
    return [_info(row, now) for row in session.schedules.all()]


def _told(
    verb: Callable[[Session], Result[ScheduleRow, ScheduleNotFound]],
) -> Verb[Result[ScheduleInfo, ScheduleNotFound]]:
    return lambda session: verb(session).map(lambda row: _info(row, session.now()))


def _key_of(target: ScheduleTarget) -> str:
    key: object = target if is_a(target, str) else getattr(target, "key", None)
    if not isinstance(key, str):
        raise ConfigurationError(f"one schedule is meant by its key, a text, or by its Schedule, got {shown(target)}")
    return storable_text(key)


def _info(row: ScheduleRow, now: datetime) -> ScheduleInfo:
    state, terms = row.state, terms_from_json(row.terms_json).value_or(None)
    return ScheduleInfo(
        key=row.key,
        name=row.name,
        terms=row.terms_json if terms is None else str(terms),
        next_at=None if state.paused_at is not None else state.next_at,
        queued_at=state.queued_at,
        paused_at=state.paused_at,
        has_ended=state.has_ended,
        runs=state.runs,
        skipped=state.skipped,
        latest_task=row.latest_task,
        errors=row.errors,
        error=row.error,
        now=now,
        state=state,
        definition=terms,
    )
