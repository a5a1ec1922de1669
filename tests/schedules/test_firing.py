"""Which instants fire: tables of each policy in each situation, and what holds for all of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import takewhile

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from milepost.lifecycle.states import TaskState
from milepost.schedules.crontab import cron
from milepost.schedules.firing import (
    FIRED_MAX,
    SKIPPED_MAX,
    Due,
    Firing,
    OverlapDecision,
    due_instants,
    fire,
    overlap_decision,
)
from milepost.schedules.fluent import daily
from milepost.schedules.interval import Every, every
from milepost.schedules.standing import ScheduleState, begin, pause, upcoming
from milepost.schedules.terms import Misfire, Overlap, Terms
from tests.schedules.kit import moments, terms

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
HOURLY = Terms(when=cron("0 * * * *"))
ONE, SKIP, ALL = Misfire.ONE, Misfire.SKIP, Misfire.ALL


def _at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2030-01-01T{clock}+00:00")


def _shown(instants: tuple[datetime, ...]) -> str:
    return " ".join(f"{each:%H}" for each in instants) or "-"


MISFIRES: list[tuple[str, str, Misfire, str, int]] = [
    # an hourly schedule, begun at 08:30       policy, fires,      missed
    ("08:59:59", "nothing is due yet", ONE, "-", 0),
    ("08:59:59", "nothing is due yet", SKIP, "-", 0),
    ("08:59:59", "nothing is due yet", ALL, "-", 0),
    ("09:00:00", "one is due now", ONE, "09", 0),
    ("09:00:00", "one is due now", SKIP, "09", 0),
    ("09:00:00", "one is due now", ALL, "09", 0),
    ("09:01:00", "one is on time, just", ONE, "09", 0),
    ("09:01:00", "one is on time, just", SKIP, "09", 0),
    ("09:01:00", "one is on time, just", ALL, "09", 0),
    ("09:01:01", "one was missed", ONE, "09", 0),
    ("09:01:01", "one was missed", SKIP, "-", 1),
    ("09:01:01", "one was missed", ALL, "09", 0),
    ("11:30:00", "three were missed", ONE, "11", 2),
    ("11:30:00", "three were missed", SKIP, "-", 3),
    ("11:30:00", "three were missed", ALL, "09 10 11", 0),
    ("12:00:30", "three were missed, one is on time", ONE, "12", 3),
    ("12:00:30", "three were missed, one is on time", SKIP, "12", 3),
    ("12:00:30", "three were missed, one is on time", ALL, "09 10 11 12", 0),
    ("08:00:00", "the clock has gone back", ONE, "-", 0),
    ("08:00:00", "the clock has gone back", SKIP, "-", 0),
    ("08:00:00", "the clock has gone back", ALL, "-", 0),
]


@pytest.mark.parametrize(
    ("now", "situation", "policy", "fires", "missed"), MISFIRES, ids=[f"{row[1]}, {row[2].name}" for row in MISFIRES]
)
def test_the_table_of_misfires_holds(now: str, situation: str, policy: Misfire, fires: str, missed: int) -> None:
    some = attrs.evolve(HOURLY, misfire=policy)
    due = due_instants(some, begin(some, _at("08:30:00")), _at(now))
    assert (_shown(due.instants), due.missed) == (fires, missed)


# What becomes of an instant by the state of the previous task. S: skip, Q: queue, F: fire, C: cancel it, then fire,
# W: cancel it, then wait for its end. The second column of each policy: another instant is queued already.
OVERLAPS = """
              SKIP    QUEUE   ALLOW   CANCEL_PREVIOUS
none          F F     F F     F F     F F
completed     F F     F F     F F     F F
failed        F F     F F     F F     F F
cancelled     F F     F F     F F     F F
quarantined   F F     F F     F F     F F
running       S S     Q S     F F     W W
pending       S S     Q S     F F     C C
retrying      S S     Q S     F F     C C
interrupted   S S     Q S     F F     C C
suspended     S S     Q S     F F     C C
"""
LETTERS = {
    OverlapDecision.SKIP: "S",
    OverlapDecision.QUEUE: "Q",
    OverlapDecision.FIRE: "F",
    OverlapDecision.CANCEL_THEN_FIRE: "C",
    OverlapDecision.CANCEL_THEN_QUEUE: "W",
}


def test_the_table_of_overlaps_holds() -> None:
    lines = OVERLAPS.strip().splitlines()
    policies = [Overlap[name] for name in lines[0].split()]
    assert policies == list(Overlap)
    states: set[TaskState | None] = set()
    for line in lines[1:]:
        name, *expected = line.split()
        state = None if name == "none" else TaskState(name)
        states.add(state)
        decided = [
            LETTERS[overlap_decision(policy, state, is_queued=is_queued)]
            for policy in policies
            for is_queued in (False, True)
        ]
        assert decided == expected, name
    assert states == {None, *TaskState}


# An hourly schedule, begun at 08:30; at 10:00:30 the instants of 9 and 10 are due, under Misfire.ALL.
# policy, state of the previous task, queued -> fires, cancels, queued afterwards, overlapped
TOGETHER: list[tuple[Overlap, TaskState | None, str, str, bool, str, int]] = [
    (Overlap.SKIP, None, "-", "09", False, "-", 1),
    (Overlap.SKIP, TaskState.COMPLETED, "-", "09", False, "-", 1),
    (Overlap.SKIP, TaskState.RUNNING, "-", "-", False, "-", 2),
    (Overlap.SKIP, TaskState.QUARANTINED, "-", "09", False, "-", 1),
    (Overlap.QUEUE, None, "-", "09", False, "10", 0),
    (Overlap.QUEUE, TaskState.RUNNING, "-", "-", False, "09", 1),
    (Overlap.QUEUE, TaskState.RUNNING, "08", "-", False, "08", 2),
    (Overlap.QUEUE, TaskState.FAILED, "08", "08", False, "09", 1),
    (Overlap.ALLOW, None, "-", "09 10", False, "-", 0),
    (Overlap.ALLOW, TaskState.RUNNING, "-", "09 10", False, "-", 0),
    (Overlap.CANCEL_PREVIOUS, None, "-", "10", False, "-", 1),
    (Overlap.CANCEL_PREVIOUS, TaskState.PENDING, "-", "10", True, "-", 1),
    (Overlap.CANCEL_PREVIOUS, TaskState.SUSPENDED, "-", "10", True, "-", 1),
    (Overlap.CANCEL_PREVIOUS, TaskState.RUNNING, "-", "-", True, "10", 1),
    (Overlap.CANCEL_PREVIOUS, TaskState.RUNNING, "08", "-", True, "10", 2),
    (Overlap.CANCEL_PREVIOUS, TaskState.CANCELLED, "08", "10", False, "-", 2),
]


@pytest.mark.parametrize(
    ("policy", "previous", "queued", "fires", "cancels", "queued_after", "overlapped"),
    TOGETHER,
    ids=[f"{row[0].name}, {row[1]}, {row[2]}" for row in TOGETHER],
)
def test_two_instants_at_once_keep_to_the_overlap_policy(
    policy: Overlap,
    previous: TaskState | None,
    queued: str,
    fires: str,
    cancels: bool,
    queued_after: str,
    overlapped: int,
) -> None:
    some = attrs.evolve(HOURLY, misfire=ALL, overlap=policy)
    state = begin(some, _at("08:30:00"))
    if queued != "-":
        state = attrs.evolve(state, queued_at=_at(f"{queued}:00:00"))
    firing = fire(some, state, _at("10:00:30"), previous)
    waiting = () if firing.state.queued_at is None else (firing.state.queued_at,)
    assert (_shown(firing.fires), firing.cancels_previous) == (fires, cancels)
    assert (_shown(waiting), firing.overlapped) == (queued_after, overlapped)
    assert firing.state.next_at == _at("11:00:00")
    assert firing.state.runs == len(firing.fires)
    assert firing.state.skipped == overlapped


def test_a_queued_instant_fires_when_the_previous_task_has_ended() -> None:
    some = attrs.evolve(HOURLY, overlap=Overlap.QUEUE)
    queued = fire(some, begin(some, _at("08:30:00")), _at("09:00:00"), TaskState.RUNNING)
    assert (queued.fires, queued.state.queued_at) == ((), _at("09:00:00"))
    assert fire(some, queued.state, _at("09:20:00"), TaskState.RUNNING) == Firing(
        attrs.evolve(queued.state, handled_until=_at("09:20:00"))
    )
    after = fire(some, queued.state, _at("09:20:00"), TaskState.COMPLETED)
    assert (after.fires, after.state.queued_at, after.state.next_at) == ((_at("09:00:00"),), None, _at("10:00:00"))


def test_a_run_limit_ends_the_schedule_and_counts_only_what_was_enqueued() -> None:
    some = attrs.evolve(HOURLY, run_limit=2, misfire=ALL)
    state = begin(some, _at("08:30:00"))
    overlapped = fire(some, state, _at("09:00:00"), TaskState.RUNNING)
    assert (overlapped.overlapped, overlapped.state.runs) == (1, 0)
    first = fire(some, overlapped.state, _at("10:00:00"), TaskState.COMPLETED)
    assert (first.state.runs, first.state.has_ended) == (1, False)
    last = fire(attrs.evolve(some, overlap=Overlap.ALLOW), first.state, _at("13:30:00"), None)
    assert (_shown(last.fires), last.state.runs, last.state.has_ended) == ("11", 2, True)
    assert fire(some, last.state, _at("15:00:00"), None).fires == ()


def test_a_queued_instant_counts_under_the_run_limit() -> None:
    some = attrs.evolve(HOURLY, run_limit=1, overlap=Overlap.QUEUE)
    queued = fire(some, begin(some, _at("08:30:00")), _at("09:00:00"), TaskState.RUNNING)
    assert (queued.state.next_at, queued.state.has_ended) == (None, False)
    fired = fire(some, queued.state, _at("09:30:00"), TaskState.COMPLETED)
    assert (_shown(fired.fires), fired.state.has_ended) == ("09", True)


def test_until_is_the_last_instant_and_lateness_does_not_take_it_away() -> None:
    some = attrs.evolve(HOURLY, until=_at("10:00:00"))
    state = begin(some, _at("08:30:00"))
    first = fire(some, state, _at("09:00:00"), None)
    last = fire(some, first.state, _at("10:00:40"), None)
    assert (_shown(last.fires), last.state.has_ended) == ("10", True)


def test_a_paused_schedule_fires_nothing() -> None:
    state = pause(begin(HOURLY, _at("08:30:00")), _at("08:40:00"))
    assert fire(HOURLY, state, _at("09:00:00"), None) == Firing(state)
    assert due_instants(HOURLY, state, _at("09:00:00")) == Due()


def test_after_a_long_outage_the_newest_hundred_fire_at_most() -> None:
    some = Terms(when=every(SECOND), misfire=ALL, overlap=Overlap.ALLOW)
    start = _at("00:00:00")
    few = fire(some, begin(some, start), start + 130 * SECOND, None)
    assert few.fires == tuple(start + number * SECOND for number in range(31, 131))
    assert few.missed == 30
    many = fire(some, begin(some, start), start + timedelta(days=3_000), None)
    assert many.fires[-1] == start + timedelta(days=3_000)
    assert [b - a for a, b in zip(many.fires, many.fires[1:], strict=False)] == [SECOND] * (FIRED_MAX - 1)
    assert many.missed == SKIPPED_MAX - FIRED_MAX


@pytest.mark.parametrize(("policy", "fires"), [(ONE, ["2029-12-31 03:00"]), (SKIP, [])])
def test_years_of_minutes_are_not_looked_at_one_by_one(policy: Misfire, fires: list[str]) -> None:
    some = Terms(when=cron("* 3 * * *"), misfire=policy)
    due = due_instants(some, begin(some, datetime(2000, 1, 1, tzinfo=UTC)), datetime(2030, 1, 1, 2, tzinfo=UTC))
    assert [f"{each:%Y-%m-%d %H}:00" for each in due.instants] == fires
    assert due.missed == SKIPPED_MAX - len(fires)


def test_several_instants_within_the_window_are_all_on_time() -> None:
    some = Terms(when=every(20 * SECOND), overlap=Overlap.ALLOW)
    fired = fire(some, begin(some, _at("09:00:00")), _at("09:01:05"), None)
    assert [f"{each:%M:%S}" for each in fired.fires] == ["00:20", "00:40", "01:00"]


def test_a_clock_that_has_gone_back_fires_nothing_again() -> None:
    fired = fire(HOURLY, begin(HOURLY, _at("08:30:00")), _at("10:00:00"), None)
    back = fire(HOURLY, fired.state, _at("09:30:00"), None)
    assert (_shown(back.fires), back.state) == ("-", fired.state)
    assert _shown(fire(HOURLY, back.state, _at("10:30:00"), None).fires) == "-"


def test_a_zone_whose_rules_changed_meanwhile_corrects_itself() -> None:
    some = Terms(when=daily().at("03:00"))
    state = attrs.evolve(begin(some, _at("00:00:00")), next_at=_at("02:00:00"))
    corrected = fire(some, state, _at("02:00:00"), None)
    assert (corrected.fires, corrected.state.next_at) == ((), _at("03:00:00"))


def _instants(some: Terms, state: ScheduleState, until: datetime) -> list[datetime]:
    return list(takewhile(lambda each: each <= until, upcoming(some, state, state.handled_until)))


@pytest.mark.slow
@given(terms(), moments(), st.lists(st.timedeltas(timedelta(0), timedelta(days=40)), max_size=6), st.data())
def test_no_instant_fires_twice_and_none_is_forgotten(
    some: Terms, start: datetime, steps: list[timedelta], data: st.DataObject
) -> None:
    state = begin(some, start)
    fired: list[datetime] = []
    now = start
    for step in steps:
        now += step
        due = 0
        for due, _ in enumerate(_instants(some, state, now), 1):
            if due == SKIPPED_MAX:
                break
        queued_before = state.queued_at is not None
        firing = fire(some, state, now, data.draw(st.sampled_from([None, *TaskState])))
        counted = len(firing.fires) + firing.missed + firing.overlapped + (firing.state.queued_at is not None)
        if some.run_limit is None:
            assert counted == due + queued_before
        else:
            assert firing.state.runs <= some.run_limit
        assert firing.state.next_at is None or firing.state.next_at > now
        assert firing.state.runs == state.runs + len(firing.fires)
        assert firing.state.skipped == state.skipped + firing.missed + firing.overlapped
        fired += firing.fires
        state = firing.state
    assert fired == sorted(set(fired))
    assert all(some.until is None or each <= some.until for each in fired)


@pytest.mark.slow
@given(terms(), moments(), st.lists(st.timedeltas(timedelta(0), timedelta(hours=1)), min_size=1, max_size=12))
def test_with_all_and_allow_each_instant_fires_once_however_often_it_is_asked_for(
    some: Terms, start: datetime, steps: list[timedelta]
) -> None:
    assume(not isinstance(some.when, Every) or some.when.interval > MINUTE)  # or one hour has more than a hundred
    some = attrs.evolve(some, misfire=ALL, overlap=Overlap.ALLOW, run_limit=None)
    begun = state = begin(some, start)
    fired: list[datetime] = []
    now = start
    for step in steps:
        now += step
        firing = fire(some, state, now, TaskState.RUNNING)
        fired += firing.fires
        state = firing.state
    assert fired == _instants(some, begun, now)
