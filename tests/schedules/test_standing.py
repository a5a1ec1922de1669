"""Where a schedule stands: its beginning, another definition, a pause."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import attrs
import pytest
from hypothesis import given

from milepost.schedules.firing import fire
from milepost.schedules.fluent import daily
from milepost.schedules.interval import every
from milepost.schedules.standing import (
    QUEUED_LOOK,
    ScheduleState,
    begin,
    look_at,
    pause,
    preview,
    redefine,
    resume,
)
from milepost.schedules.terms import Misfire, Overlap, Terms
from tests.schedules.kit import moments, terms

NOW = datetime(2030, 1, 1, 12, 17, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOURLY = Terms(when=every(HOUR))


def _fired(some: Terms, state: ScheduleState, *delays: timedelta) -> list[str]:
    """When it fires if somebody looks after each of these delays."""
    fired: list[datetime] = []
    for delay in delays:
        firing = fire(some, state, NOW + delay, None)
        fired += firing.fires
        state = firing.state
    return [f"{each:%H:%M}" for each in fired]


def test_the_first_instant_is_the_next_one() -> None:
    assert begin(Terms(when=daily()), NOW).next_at == datetime(2030, 1, 2, tzinfo=UTC)


def test_an_interval_fires_first_after_one_interval() -> None:
    assert begin(HOURLY, NOW).next_at == NOW + HOUR
    assert _fired(HOURLY, begin(HOURLY, NOW), HOUR, 2 * HOUR, 3 * HOUR) == ["13:17", "14:17", "15:17"]


def test_an_interval_does_not_drift_when_it_is_fired_late() -> None:
    late = timedelta(seconds=20)
    assert _fired(HOURLY, begin(HOURLY, NOW), HOUR + late, 2 * HOUR + late) == ["13:17", "14:17"]


def test_it_can_run_first_at_once() -> None:
    some = attrs.evolve(HOURLY, run_first=timedelta(0))
    state = begin(some, NOW)
    assert state.next_at == NOW
    assert fire(some, state, NOW, None).state.next_at == NOW + HOUR
    assert _fired(some, state, timedelta(0), HOUR) == ["12:17", "13:17"]


def test_it_can_run_first_after_a_while_and_goes_on_from_there() -> None:
    some = Terms(when=daily().at("13:00", "15:00"), run_first=HOUR)
    assert _fired(some, begin(some, NOW), HOUR, 3 * HOUR) == ["13:17", "15:00"]


def test_it_can_run_first_at_a_moment_and_a_past_one_means_at_once() -> None:
    later = attrs.evolve(HOURLY, run_first=NOW + HOUR / 2)
    assert _fired(later, begin(later, NOW), HOUR / 2, 1.5 * HOUR) == ["12:47", "13:47"]
    past = attrs.evolve(HOURLY, run_first=NOW - HOUR)
    assert _fired(past, begin(past, NOW), timedelta(0), HOUR) == ["12:17", "13:17"]


def test_the_first_run_counts_toward_the_limit() -> None:
    some = attrs.evolve(HOURLY, run_first=timedelta(0), run_limit=2)
    assert _fired(some, begin(some, NOW), timedelta(0), HOUR, 2 * HOUR) == ["12:17", "13:17"]


def test_a_schedule_whose_end_is_past_has_ended_when_it_begins() -> None:
    assert begin(attrs.evolve(HOURLY, until=NOW), NOW).has_ended
    assert begin(attrs.evolve(HOURLY, until=NOW, run_first=HOUR), NOW).has_ended


def test_the_same_definition_changes_nothing() -> None:
    some = attrs.evolve(HOURLY, run_first=timedelta(0))
    state = fire(some, begin(some, NOW), NOW, None).state
    assert redefine(some, some, state, NOW + HOUR) is state


def test_another_when_holds_at_once_and_keeps_the_runs() -> None:
    state = fire(HOURLY, begin(HOURLY, NOW), NOW + HOUR, None).state
    changed = attrs.evolve(HOURLY, when=every(timedelta(minutes=10)))
    new = redefine(HOURLY, changed, state, NOW + 1.5 * HOUR)
    assert (new.next_at, new.runs) == (NOW + 1.5 * HOUR + timedelta(minutes=10), 1)


def test_another_policy_keeps_the_rhythm_and_what_is_due() -> None:
    state = begin(HOURLY, NOW)
    changed = attrs.evolve(HOURLY, misfire=Misfire.ALL, overlap=Overlap.ALLOW)
    new = redefine(HOURLY, changed, state, NOW + 2.5 * HOUR)
    assert _fired(changed, new, 2.5 * HOUR, 3 * HOUR) == ["13:17", "14:17", "15:17"]


def test_a_definition_takes_the_place_of_one_that_cannot_be_read() -> None:
    state = fire(HOURLY, begin(HOURLY, NOW), NOW + HOUR, None).state
    new = redefine(None, HOURLY, state, NOW + 1.5 * HOUR)
    assert (new.next_at, new.runs, new.handled_until) == (NOW + 2.5 * HOUR, 1, NOW + 1.5 * HOUR)


def test_a_first_run_is_not_repeated_by_another_definition() -> None:
    some = attrs.evolve(HOURLY, run_first=timedelta(0))
    state = fire(some, begin(some, NOW), NOW, None).state
    changed = attrs.evolve(some, when=daily())
    assert redefine(some, changed, state, NOW).next_at == datetime(2030, 1, 2, tzinfo=UTC)


def test_a_longer_life_wakes_a_schedule_that_had_ended_without_catching_up() -> None:
    some = attrs.evolve(HOURLY, until=NOW + HOUR, misfire=Misfire.ALL)
    ended = fire(some, begin(some, NOW), NOW + HOUR, None).state
    assert ended.has_ended
    longer = attrs.evolve(some, until=None)
    assert redefine(some, longer, ended, NOW + 4.5 * HOUR).next_at == NOW + 5 * HOUR


def test_instants_of_a_pause_are_not_missed() -> None:
    some = attrs.evolve(HOURLY, misfire=Misfire.ALL)
    paused = pause(begin(some, NOW), NOW)
    assert paused.paused_at == NOW
    assert pause(paused, NOW + HOUR) == paused
    resumed = resume(some, paused, NOW + 3.5 * HOUR)
    assert (resumed.paused_at, resumed.next_at) == (None, NOW + 4 * HOUR)
    assert resume(some, resumed, NOW + 9 * HOUR) == resumed


def test_somebody_looks_at_the_next_instant() -> None:
    state = begin(HOURLY, NOW)
    assert look_at(state, NOW) == NOW + HOUR
    assert look_at(pause(state, NOW), NOW) is None
    assert look_at(begin(attrs.evolve(HOURLY, until=NOW), NOW), NOW) is None


def test_somebody_looks_at_a_queued_instant_now_and_then_too() -> None:
    queued = attrs.evolve(begin(HOURLY, NOW), queued_at=NOW)
    assert look_at(queued, NOW) == NOW + QUEUED_LOOK
    assert look_at(queued, NOW + HOUR - QUEUED_LOOK / 2) == NOW + HOUR
    assert look_at(attrs.evolve(queued, next_at=None), NOW) == NOW + QUEUED_LOOK
    assert look_at(pause(queued, NOW), NOW) is None


def test_the_next_instants_are_previewed_from_now_on() -> None:
    state = begin(HOURLY, NOW)
    assert preview(HOURLY, state, NOW, 2) == [NOW + HOUR, NOW + 2 * HOUR]
    assert preview(HOURLY, state, NOW + 3.5 * HOUR, 1) == [NOW + 4 * HOUR]
    assert preview(HOURLY, state, NOW, 0) == []


def test_no_more_instants_are_previewed_than_will_come() -> None:
    limited = attrs.evolve(HOURLY, run_limit=2)
    once = fire(limited, begin(limited, NOW), NOW + HOUR, None).state
    assert preview(limited, once, NOW + HOUR, 5) == [NOW + 2 * HOUR]
    assert preview(limited, attrs.evolve(once, queued_at=NOW), NOW + HOUR, 5) == []
    ending = attrs.evolve(HOURLY, until=NOW + 2 * HOUR)
    assert preview(ending, begin(ending, NOW), NOW, 5) == [NOW + HOUR, NOW + 2 * HOUR]


def test_of_a_paused_schedule_is_previewed_what_a_resume_would_bring() -> None:
    paused = pause(begin(HOURLY, NOW), NOW)
    assert preview(HOURLY, paused, NOW + 3.5 * HOUR, 2) == [NOW + 4 * HOUR, NOW + 5 * HOUR]


@pytest.mark.slow
@given(terms(), terms(), moments(), moments())
def test_a_definition_may_change_into_any_other_at_any_time(
    before: Terms, after: Terms, start: datetime, now: datetime
) -> None:
    state = redefine(before, after, begin(before, start), now)
    assert state.next_at is None or after.until is None or state.next_at <= after.until
    assert fire(after, state, now, None).state.handled_until >= now
