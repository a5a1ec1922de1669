"""Which instants of a schedule fire now, by its misfire policy and its overlap policy.

Pure and total. A store reads a schedule and the state of its latest task, asks `fire`, and in one guarded transaction
enqueues a task for each instant, cancels the previous one if it must, and writes the next state.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime
from enum import Enum
from itertools import islice, takewhile
from typing import Final, assert_never, final

import attrs
from attrs import frozen

from milepost.lifecycle.states import LIVE_STATES, TaskState
from milepost.schedules.standing import ScheduleState, has_room, upcoming, with_next
from milepost.schedules.terms import Misfire, Overlap, Terms

FIRED_MAX: Final = 100
"""At most so many instants fire at once, the newest ones: after a long outage they all fall due together."""
SKIPPED_MAX: Final = 1_000
"""What is skipped at once is counted up to here, so that a turn does not spend its time on counting."""

_OVERLAPPING: Final = LIVE_STATES - {TaskState.QUARANTINED}  # a quarantined task must not stop its schedule for good


@final
@frozen
class Due:
    """The instants that are to fire now, rising, and how many before now are not."""

    instants: tuple[datetime, ...] = ()
    missed: int = 0


class OverlapDecision(Enum):
    """What becomes of one instant."""

    FIRE = "fire"
    SKIP = "skip"
    QUEUE = "queue"
    CANCEL_THEN_FIRE = "cancel, then fire"
    CANCEL_THEN_QUEUE = "cancel, then queue"


@final
@frozen
class Firing:
    """What is to be done: a task for each of `fires`, a cancel of the previous task, and the next state, to be stored.

    `missed` and `overlapped` count the instants that fall away by it; `state.skipped` has them already.
    """

    state: ScheduleState
    fires: tuple[datetime, ...] = ()
    cancels_previous: bool = False
    missed: int = 0
    overlapped: int = 0


def fire(terms: Terms, state: ScheduleState, now: datetime, previous: TaskState | None) -> Firing:
    """Decide what a schedule does now; `previous` is the state of its latest task, None if there is none.

    To be asked when the next instant is due, and when a previous task has ended while an instant is queued. A paused
    schedule does nothing.
    """
    if state.paused_at is not None:
        return Firing(state)
    due = due_instants(terms, state, now)
    work = _Work(terms, state, previous)
    work.fire_queued()
    for instant in due.instants:
        if not has_room(terms, work.state):
            break
        work.take(instant)
    settled = attrs.evolve(
        work.state,
        handled_until=max(state.handled_until, now),
        skipped=work.state.skipped + due.missed + work.overlapped,
    )
    return Firing(with_next(terms, settled), tuple(work.fires), work.cancels, due.missed, work.overlapped)


def due_instants(terms: Terms, state: ScheduleState, now: datetime) -> Due:
    """The instants up to now that fire under the misfire policy, whatever the previous task does."""
    if state.next_at is None or state.paused_at is not None:
        return Due()
    newest, count = _newest(terms, state, now)
    on_time = [each for each in newest if now - each <= terms.misfire_window]
    fires = _under(terms.misfire, newest, on_time)
    return Due(tuple(fires), count - len(fires))


def overlap_decision(policy: Overlap, previous: TaskState | None, *, is_queued: bool) -> OverlapDecision:
    """What becomes of an instant, given the state of the previous task and whether another instant waits already.

    A quarantined task does not count as live here: it waits for a person, and its schedule must not.
    """
    if previous not in _OVERLAPPING:
        return OverlapDecision.FIRE
    match policy:
        case Overlap.ALLOW:
            return OverlapDecision.FIRE
        case Overlap.SKIP:
            return OverlapDecision.SKIP
        case Overlap.QUEUE:
            return OverlapDecision.SKIP if is_queued else OverlapDecision.QUEUE
        case Overlap.CANCEL_PREVIOUS:
            # What waits is cancelled by the cancel; what runs must end first, or the two would run side by side.
            running = previous is TaskState.RUNNING
            return OverlapDecision.CANCEL_THEN_QUEUE if running else OverlapDecision.CANCEL_THEN_FIRE
        case _ as never:
            assert_never(never)


def _under(misfire: Misfire, newest: list[datetime], on_time: list[datetime]) -> list[datetime]:
    match misfire:
        case Misfire.ALL:
            return newest
        case Misfire.SKIP:
            return on_time
        case Misfire.ONE:
            return on_time or newest[-1:]
        case _ as never:
            assert_never(never)


class _Work:
    """One firing while it is decided: each instant that fires is the previous task of the next."""

    def __init__(self, terms: Terms, state: ScheduleState, previous: TaskState | None) -> None:
        self.terms, self.state, self.previous = terms, state, previous
        self.fires: list[datetime] = []
        self.cancels = False
        self.overlapped = 0

    def fire_queued(self) -> None:
        queued = self.state.queued_at
        if queued is not None and self.previous not in _OVERLAPPING:
            self.state = attrs.evolve(self.state, queued_at=None)
            self._fire(queued)

    def take(self, instant: datetime) -> None:
        queued = self.state.queued_at
        decision = overlap_decision(self.terms.overlap, self.previous, is_queued=queued is not None)
        match decision:
            case OverlapDecision.FIRE:
                self._fire(instant)
            case OverlapDecision.SKIP:
                self.overlapped += 1
            case OverlapDecision.QUEUE:
                self.state = attrs.evolve(self.state, queued_at=instant)
            case OverlapDecision.CANCEL_THEN_QUEUE:
                self.cancels = True
                self.overlapped += queued is not None  # the newer one takes its place
                self.state = attrs.evolve(self.state, queued_at=instant)
            case OverlapDecision.CANCEL_THEN_FIRE:
                self._cancel()
                self._fire(instant)
            case _ as never:
                assert_never(never)

    def _fire(self, instant: datetime) -> None:
        self.fires.append(instant)
        self.state = attrs.evolve(self.state, runs=self.state.runs + 1)
        self.previous = TaskState.PENDING

    def _cancel(self) -> None:
        if not self.fires:
            self.cancels = True
            return
        self.fires.pop()  # it is enqueued by this very firing: no task is made only to be cancelled
        self.overlapped += 1
        self.state = attrs.evolve(self.state, runs=self.state.runs - 1)


def _newest(terms: Terms, state: ScheduleState, now: datetime) -> tuple[list[datetime], int]:
    """The newest instants that are due, at most `FIRED_MAX`, and the number of all, counted up to `SKIPPED_MAX`."""
    newest: deque[datetime] = deque(maxlen=FIRED_MAX)
    count = 0
    for instant in islice(_due(terms, state, state.handled_until, now), SKIPPED_MAX):
        newest.append(instant)
        count += 1
    if count < SKIPPED_MAX:
        return list(newest), count
    return _last(terms, state, now), count


def _last(terms: Terms, state: ScheduleState, now: datetime) -> list[datetime]:
    """The last `FIRED_MAX` instants up to now: found by halving, for there may be millions before them."""
    low, high = state.handled_until, now
    while high - low > datetime.resolution:
        middle = low + (high - low) / 2
        enough = sum(1 for _ in islice(_due(terms, state, middle, now), FIRED_MAX)) == FIRED_MAX
        low, high = (middle, high) if enough else (low, middle)
    return list(islice(_due(terms, state, low, now), FIRED_MAX))


def _due(terms: Terms, state: ScheduleState, after: datetime, now: datetime) -> takewhile[datetime]:
    return takewhile(lambda instant: instant <= now, upcoming(terms, state, after))
