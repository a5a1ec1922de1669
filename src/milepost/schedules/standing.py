"""Where a schedule stands, and what its beginning, a new definition, a pause and a resume make of that. Pure.

`handled_until` is the truth: each instant up to it has fired or was skipped. `next_at` follows from it, for stores to
find what is due; a zone whose rules have changed since corrects itself when that moment comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import chain, islice, takewhile
from typing import Final, final

import attrs
from attrs import frozen

from milepost.clock import later
from milepost.schedules.interval import Every
from milepost.schedules.terms import Terms
from milepost.schedules.when import When

QUEUED_LOOK: Final = timedelta(minutes=1)
"""A queued instant fires when the previous task ends, which wakes the schedule. A task that is deleted ends without
that, and is noticed after so long."""


@final
@frozen(kw_only=True)
class ScheduleState:
    """Where a schedule stands.

    `counted_from` is what intervals count from, `first_at` the instant that `run_first` asked for. `queued_at` is the
    instant that waits for the previous task to end. `runs` counts the tasks that were enqueued, `skipped` the instants
    that were missed or overlapped. It has ended when nothing is next and nothing queued.
    """

    counted_from: datetime
    handled_until: datetime
    next_at: datetime | None
    first_at: datetime | None = None
    queued_at: datetime | None = None
    paused_at: datetime | None = None
    runs: int = 0
    skipped: int = 0

    @property
    def has_ended(self) -> bool:
        """Whether it never fires again."""
        return self.next_at is None and self.queued_at is None


def begin(terms: Terms, now: datetime) -> ScheduleState:
    """A schedule from its first day; its first instant is the next one, unless `run_first` says another."""
    first_at = _first_at(terms, now)
    state = ScheduleState(
        counted_from=now if first_at is None else first_at,
        handled_until=now if first_at is None else first_at - datetime.resolution,
        next_at=None,
        first_at=first_at,
    )
    return with_next(terms, state)


def redefine(before: Terms | None, terms: Terms, state: ScheduleState, now: datetime) -> ScheduleState:
    """The schedule under a new definition, which holds at once. Runs stay counted, and `run_first` is not repeated.

    With another `when`, or where the old terms cannot be read any more, it goes on from now; what the old one left
    unfired is not missed. One that had ended goes on from now too, if the new terms have instants left.
    """
    if before == terms:
        return state
    if before is None or before.when != terms.when:
        state = attrs.evolve(state, counted_from=now, handled_until=now, first_at=None)
    elif state.has_ended:
        state = attrs.evolve(state, handled_until=max(now, state.handled_until))
    return with_next(terms, state)


def pause(state: ScheduleState, now: datetime) -> ScheduleState:
    """The schedule, firing nothing until it is resumed; a second pause changes nothing."""
    return state if state.paused_at is not None else attrs.evolve(state, paused_at=now)


def resume(terms: Terms, state: ScheduleState, now: datetime) -> ScheduleState:
    """The schedule, firing again; instants of the pause count as handled, not as missed."""
    if state.paused_at is None:
        return state
    handled = max(state.handled_until, now)
    return with_next(terms, attrs.evolve(state, paused_at=None, handled_until=handled))


def look_at(state: ScheduleState, now: datetime) -> datetime | None:
    """When somebody must look at the schedule next; None: not before something is said of it."""
    if state.paused_at is not None:
        return None
    if state.queued_at is None:
        return state.next_at
    look = later(now, QUEUED_LOOK)
    return look if state.next_at is None else min(look, state.next_at)


def preview(terms: Terms, state: ScheduleState, now: datetime, count: int) -> list[datetime]:
    """The next instants after now, at most `count`, as the limits let them come; a paused schedule's as if it was
    resumed now."""
    state = resume(terms, state, now)
    if terms.run_limit is not None:
        count = min(count, terms.run_limit - state.runs - (state.queued_at is not None))
    return list(islice(upcoming(terms, state, max(state.handled_until, now)), max(0, count)))


def with_next(terms: Terms, state: ScheduleState) -> ScheduleState:
    """The state with the instant that comes next, or with none where the limit or the end is reached."""
    following = next(upcoming(terms, state, state.handled_until), None) if has_room(terms, state) else None
    return attrs.evolve(state, next_at=following)


def has_room(terms: Terms, state: ScheduleState) -> bool:
    """Whether the run limit leaves room for one more instant."""
    return terms.run_limit is None or state.runs + (state.queued_at is not None) < terms.run_limit


def upcoming(terms: Terms, state: ScheduleState, after: datetime) -> Iterator[datetime]:
    """The schedule's instants after `after`, as far as `until` lets them come."""
    when, until = _anchored(terms.when, state.counted_from), terms.until
    if state.first_at is not None and after < state.first_at:
        instants: Iterator[datetime] = chain([state.first_at], when.after(state.first_at))
    else:
        instants = when.after(after)
    return instants if until is None else takewhile(lambda instant: instant <= until, instants)


def _anchored(when: When, at: datetime) -> When:
    return when.anchored(at) if isinstance(when, Every) else when


def _first_at(terms: Terms, now: datetime) -> datetime | None:
    if isinstance(terms.run_first, timedelta):
        return later(now, terms.run_first)
    return None if terms.run_first is None else max(now, terms.run_first)
