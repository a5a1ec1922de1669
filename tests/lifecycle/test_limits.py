"""What limits promise, on their own: the bound of a rate in every window, its use to the full, the order of a line."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs
import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from milepost.clock import EPOCH
from milepost.crash import Crash, CrashKind
from milepost.errors import ConfigurationError
from milepost.lifecycle import events
from milepost.lifecycle.events import Event
from milepost.lifecycle.invariants import violations
from milepost.lifecycle.limiting import Verdict, decide, rate_key, share_key
from milepost.lifecycle.limits import KEY_CHARACTERS_MAX, ConcurrencyLimit, LimitKey, RateLimit, stored_key
from milepost.lifecycle.queues import WhenFull
from milepost.lifecycle.rates import BeyondHorizon, RateUse, Start, StartsLater, StartsNow, give_start
from milepost.lifecycle.record import HistoryKind, TaskRecord
from milepost.lifecycle.shares import Shares
from milepost.lifecycle.states import LimitKind, TaskState
from milepost.lifecycle.transition import Policy
from milepost.testing.conformance.kit import HOUR, NOW, SECOND, decided, sample

MILLISECOND = timedelta(milliseconds=1)


@define
class RateLine:
    """A rate in use: tasks that fall due, and executors that come a little late and take up to `slots` at a time."""

    limit: RateLimit
    lateness: Callable[[], timedelta]
    slots: int = 50
    now: datetime = NOW
    used_until: datetime = EPOCH
    waiting: list[tuple[datetime, int, datetime | None]] = field(factory=list[tuple[datetime, int, datetime | None]])
    starts: list[datetime] = field(factory=list[datetime])
    order: list[int] = field(factory=list[int])
    claims: int = 0

    def add(self, *numbers: int, due_at: datetime = NOW) -> None:
        for number in numbers:
            heapq.heappush(self.waiting, (due_at, number, None))

    def run(self, until: datetime) -> None:
        while self.waiting and self.waiting[0][0] < until:
            self.now = max(self.now, self.waiting[0][0]) + self.lateness()
            if self.now >= until:
                return
            self.turn()

    def turn(self) -> None:
        taken: list[tuple[datetime, int, datetime | None]] = []
        while self.waiting and self.waiting[0][0] <= self.now and len(taken) < self.slots:
            taken.append(heapq.heappop(self.waiting))
        self.claims += len(taken)
        use = RateUse(self.used_until, max((slot for _, _, slot in self.waiting if slot), default=EPOCH))
        for _, number, slot in sorted(taken, key=lambda each: (each[2] is None, each[0], each[1])):
            start, use = give_start(self.limit, use, now=self.now, slot_at=slot)
            match start:
                case StartsNow():
                    self.starts.append(self.now)
                    self.order.append(number)
                case StartsLater(slot_at):
                    heapq.heappush(self.waiting, (slot_at, number, slot_at))
                case BeyondHorizon():
                    heapq.heappush(self.waiting, (self.now + self.limit.horizon / 2, number, None))
        self.used_until = use.used_until


def late(milliseconds: float, seed: int = 1) -> Callable[[], timedelta]:
    """Up to so many milliseconds late, differently each time."""
    chance = random.Random(seed)
    return lambda: chance.random() * milliseconds * MILLISECOND


def most_above_rate(limit: RateLimit, starts: Sequence[datetime]) -> float:
    """By how much the fullest window, of any length, exceeds what the rate gives for its length."""
    fullest, earliest = -1.0, float("-inf")
    for count, start in enumerate(sorted(starts)):
        given = (start - NOW) / limit.interval
        earliest = max(earliest, given - count)
        fullest = max(fullest, count + 1 - given + earliest)
    return fullest


# The rate


@pytest.mark.parametrize("milliseconds", [0, 1, 5, 20])
def test_a_backlog_uses_a_rate_to_the_full_and_never_exceeds_it(milliseconds: float) -> None:
    limit = RateLimit(100, SECOND)
    line = RateLine(limit, late(milliseconds))
    line.add(*range(2_000))
    line.run(NOW + 10 * SECOND)
    assert most_above_rate(limit, line.starts) <= limit.starts_max + 1e-6
    assert len(line.starts) >= 0.98 * (10 * 100 + limit.starts_max)
    assert line.order == sorted(line.order)
    # Each is put back once, and then claimed for its slot.
    assert line.claims <= 2_000 + len(line.starts) + limit.starts_max


@given(st.data())
def test_no_window_of_any_length_sees_more_starts_than_a_burst_and_what_the_rate_gives(data: st.DataObject) -> None:
    limit = RateLimit(
        data.draw(st.integers(1, 50)),
        data.draw(st.sampled_from([SECOND, 7 * SECOND / 3, timedelta(minutes=1)])),
        data.draw(st.none() | st.integers(1, 60)),
        horizon=data.draw(st.sampled_from([SECOND / 10, 5 * SECOND, HOUR])),
    )
    lateness = data.draw(st.sampled_from([0, 1, 100, 3_000]))
    line = RateLine(limit, late(lateness, data.draw(st.integers(0, 99))), slots=data.draw(st.integers(1, 20)))
    for number in range(data.draw(st.integers(1, 80))):
        line.add(number, due_at=NOW + data.draw(st.sampled_from([0, 0, 1, 3, 10])) * SECOND)
    line.run(NOW + 2 * SECOND)
    line.now += data.draw(st.sampled_from([0, 1, 20])) * SECOND  # an outage
    line.run(NOW + 600 * SECOND)
    assert most_above_rate(limit, line.starts) <= limit.starts_max + 1e-6
    assert len(line.order) == len(set(line.order))


def test_to_be_late_by_less_than_a_burst_takes_costs_nothing() -> None:
    limit = RateLimit(100, SECOND, burst=20)
    line = RateLine(limit, late(100), slots=2_000)
    line.add(*range(2_000))
    line.run(NOW + 10 * SECOND)
    assert len(line.starts) >= 0.98 * (10 * 100 + 20)


def test_a_rate_without_burst_is_as_even_as_its_executors_are_on_time() -> None:
    limit = RateLimit(10, SECOND, burst=1)
    line = RateLine(limit, late(1))
    line.add(*range(200))
    line.run(NOW + 10 * SECOND)
    gaps = [later - sooner for sooner, later in zip(line.starts, line.starts[1:], strict=False)]
    assert min(gaps) >= limit.interval
    assert len(line.starts) >= 0.98 * 100


def test_after_an_outage_the_overdue_do_not_start_all_at_once_nor_come_back_as_a_herd() -> None:
    limit = RateLimit(100, SECOND, burst=10)
    line = RateLine(limit, late(1))
    line.add(*range(3_000))
    line.run(NOW + SECOND)
    line.now = NOW + 11 * SECOND
    claims = line.claims
    line.run(NOW + 21 * SECOND)
    after = [start for start in line.starts if start >= NOW + 11 * SECOND]
    assert most_above_rate(limit, line.starts) <= 10 + 1e-6
    assert len(after) >= 0.98 * 10 * 100
    assert line.claims - claims < 4 * len(after)


def test_a_newcomer_lines_up_behind_those_that_wait() -> None:
    limit = RateLimit(1, SECOND)
    use = RateUse(used_until=NOW + SECOND, last_slot=NOW + 5 * SECOND)
    assert _start(limit, use) == StartsLater(NOW + 6 * SECOND)
    assert _start(limit, use, slot_at=NOW) == StartsLater(NOW + SECOND)


def test_a_line_whose_slots_nobody_uses_holds_up_nobody() -> None:
    left_by_cancelled_tasks = RateUse(used_until=NOW - SECOND, last_slot=NOW + HOUR)
    assert _start(RateLimit(1, SECOND), left_by_cancelled_tasks) == StartsNow()


def test_who_holds_a_slot_is_given_a_start_whatever_the_horizon() -> None:
    limit = RateLimit(1, SECOND, horizon=SECOND)
    full = RateUse(used_until=NOW + 100 * SECOND, last_slot=NOW + 100 * SECOND)
    assert _start(limit, full) == BeyondHorizon(NOW + 101 * SECOND)
    assert _start(limit, full, slot_at=NOW) == StartsLater(NOW + 101 * SECOND)


def test_a_clock_that_is_behind_takes_nothing_from_the_bound() -> None:
    limit = RateLimit(1, SECOND)
    _, use = give_start(limit, RateUse(), now=NOW, slot_at=None)
    assert _start(limit, use, now=NOW - SECOND / 2) == StartsLater(NOW + SECOND)


def test_the_interval_is_rounded_up_so_that_the_rate_is_never_exceeded() -> None:
    assert RateLimit(3, SECOND).interval == timedelta(microseconds=333_334)
    assert RateLimit(3_000_000, SECOND).interval == timedelta(microseconds=1)


def _start(limit: RateLimit, use: RateUse, *, slot_at: datetime | None = None, now: datetime = NOW) -> Start:
    return give_start(limit, use, now=now, slot_at=slot_at)[0]


# The shares


def test_shares_go_by_priority_and_then_by_arrival() -> None:
    newcomers = [_task(1), _task(2, priority=5), _task(3, created_at=NOW - 2 * HOUR)]
    verdict = _decide(newcomers, Shares(free=2, freed=0))
    assert _ids(verdict.start) == _ids([newcomers[1], newcomers[2]])
    assert [record.id for record, _ in verdict.turned_away] == [newcomers[0].id]


def test_a_newcomer_lines_up_behind_those_that_wait_for_a_share() -> None:
    parked = _task(1, created_at=NOW - 2 * HOUR, limited_by=LimitKind.CONCURRENCY)
    verdict = _decide([_task(2)], Shares(free=1, freed=1, parked=[parked]))
    assert verdict.start == []
    assert verdict.let_in == [parked]


def test_a_newcomer_of_higher_priority_goes_before_those_that_wait() -> None:
    parked = _task(1, created_at=NOW - 2 * HOUR, limited_by=LimitKind.CONCURRENCY)
    verdict = _decide([_task(2, priority=1)], Shares(free=1, freed=1, parked=[parked]))
    assert _ids(verdict.start) == _ids([_task(2)])
    assert verdict.let_in == []


def test_a_share_that_is_promised_is_not_given_to_a_newcomer() -> None:
    parked = _task(1, limited_by=LimitKind.CONCURRENCY)
    verdict = _decide([_task(2, priority=9)], Shares(free=1, freed=0, parked=[parked]))
    assert (verdict.start, verdict.let_in) == ([], [])


def test_who_was_let_in_goes_first_and_uses_no_share_that_was_just_freed() -> None:
    let_in, parked = (_task(n, limited_by=LimitKind.CONCURRENCY) for n in (1, 2))
    verdict = _decide([_task(3, priority=9), let_in], Shares(free=2, freed=1, parked=[parked]))
    assert _ids(verdict.start) == _ids([let_in, _task(3)])
    assert verdict.let_in == []


def test_who_was_let_in_and_must_wait_for_its_start_passes_its_share_on() -> None:
    policy = Policy(concurrency_limit=ConcurrencyLimit(1), rate_limit=RateLimit(1, SECOND))
    let_in, parked = (_task(n, limited_by=LimitKind.CONCURRENCY, rate_key="") for n in (1, 2))
    busy = {rate_key(let_in): RateUse(used_until=NOW + SECOND)}
    verdict = _decide([let_in], Shares(free=1, freed=0, parked=[parked]), policy, busy)
    assert verdict.turned_away == [(let_in, events.Limited(LimitKind.RATE, NOW + SECOND, NOW + SECOND))]
    assert verdict.let_in == [parked]


def test_who_finds_no_share_uses_up_no_start() -> None:
    policy = Policy(concurrency_limit=ConcurrencyLimit(1), rate_limit=RateLimit(1, SECOND))
    verdict = _decide([_task(1, rate_key="")], Shares(free=0, freed=0), policy, {LimitKey("send", ""): RateUse()})
    assert (verdict.start, verdict.used) == ([], {})


@pytest.mark.parametrize("kind", LimitKind)
def test_a_limit_that_rejects_turns_away_instead_of_letting_wait(kind: LimitKind) -> None:
    policy = Policy(
        rate_limit=RateLimit(1, SECOND, horizon=SECOND, when_full=WhenFull.REJECT),
        concurrency_limit=ConcurrencyLimit(1, when_full=WhenFull.REJECT),
    )
    record = _task(1, rate_key="")
    uses = {rate_key(record): RateUse(used_until=NOW + HOUR, last_slot=NOW + HOUR)}
    free = 0 if kind is LimitKind.CONCURRENCY else 1
    ((_, event),) = _decide([record], Shares(free=free, freed=0), policy, uses).turned_away
    assert isinstance(event, events.OverLimit)
    assert event.kind is kind


def test_beyond_the_horizon_tasks_wait_without_a_slot_and_come_back_spread() -> None:
    limit = RateLimit(1, SECOND, horizon=HOUR)
    full = {LimitKey("send", ""): RateUse(used_until=NOW + HOUR, last_slot=NOW + HOUR)}
    crowd = [_task(n, rate_key="", concurrency_key=None) for n in range(1_000)]
    verdict = decide(crowd, {"send": Policy(rate_limit=limit)}, rates=full, shares={}, now=NOW)
    waits = [event for _, event in verdict.turned_away if isinstance(event, events.Limited)]
    assert {event.slot_at for event in waits} == {None}
    minutes = Counter((event.until - NOW) // timedelta(minutes=1) for event in waits)
    assert len(waits) == 1_000
    assert set(minutes) <= set(range(30, 61))
    assert max(minutes.values()) < 80


@given(st.data())
def test_whatever_happens_no_more_run_than_may_and_no_share_is_idle_while_somebody_waits(data: st.DataObject) -> None:
    most = data.draw(st.integers(1, 4))
    policy = Policy(concurrency_limit=ConcurrencyLimit(most))
    fleet = _Fleet(policy, most)
    for number in range(data.draw(st.integers(1, 40))):
        step = data.draw(st.sampled_from(["come", "come", "end", "end", "claim"]))
        if step == "come":
            fleet.due.append(_task(number, priority=data.draw(st.integers(0, 1)), created_at=NOW + number * SECOND))
        ending = fleet.running[: data.draw(st.integers(1, 2))] if step == "end" else []
        fleet.turn(ending, slots=data.draw(st.integers(0, 3)))
        assert len(fleet.running) <= most
        let_in = sum(record.limited_by is LimitKind.CONCURRENCY for record in fleet.due)
        assert not fleet.parked or len(fleet.running) + let_in >= most


def test_of_equal_tasks_the_first_to_come_is_the_first_to_run() -> None:
    fleet = _Fleet(Policy(concurrency_limit=ConcurrencyLimit(2)), 2)
    for number in range(60):
        fleet.due.append(_task(number, created_at=NOW + number * SECOND))
        fleet.turn(fleet.running[:1] if number % 2 else [], slots=5)
    while fleet.due or fleet.parked:
        fleet.turn(fleet.running[:1], slots=5)
    assert fleet.order == sorted(fleet.order)


@define
class _Fleet:
    """One concurrency limit in use, as turns decide it."""

    policy: Policy
    most: int
    due: list[TaskRecord] = field(factory=list[TaskRecord])
    parked: list[TaskRecord] = field(factory=list[TaskRecord])
    running: list[TaskRecord] = field(factory=list[TaskRecord])
    order: list[str] = field(factory=list[str])

    def turn(self, ending: Iterable[TaskRecord], slots: int) -> None:
        ended = list(ending)
        self.running = [record for record in self.running if record not in ended]
        self.due.sort(key=lambda record: (-record.priority, record.created_at))
        claimed, self.due = self.due[:slots], self.due[slots:]
        self.parked.sort(key=lambda record: (-record.priority, record.created_at))
        promised = len(ended) + sum(record.limited_by is LimitKind.CONCURRENCY for record in claimed)
        free = self.most - len(self.running)
        shares = Shares(free, len(ended), self.parked[: max(1, min(free, promised))] if free > 0 else ())
        verdict = _decide(claimed, shares, self.policy)
        self.running += verdict.start
        self.order += [record.id for record in verdict.start]
        self.parked = [record for record in self.parked if record not in verdict.let_in]
        self.due += verdict.let_in
        parked = [attrs.evolve(record, limited_by=LimitKind.CONCURRENCY) for record, _ in verdict.turned_away]
        self.parked += parked


def _task(number: int, **changes: Any) -> TaskRecord:
    return sample(number, **{"concurrency_key": "", **changes})


def _ids(records: Iterable[TaskRecord]) -> list[str]:
    return sorted(record.id for record in records)


def _decide(
    claimed: Sequence[TaskRecord],
    shares: Shares,
    policy: Policy | None = None,
    rates: dict[LimitKey, RateUse] | None = None,
) -> Verdict:
    policies = {"send": policy or Policy(concurrency_limit=ConcurrencyLimit(9))}
    return decide(claimed, policies, rates=rates or {}, shares={LimitKey("send", ""): shares}, now=NOW)


# What becomes of the task


def test_being_put_back_costs_a_task_nothing() -> None:
    claimed = decided(sample(1), events.Claimed("ada", "token")).after
    after = decided(claimed, events.Limited(LimitKind.RATE, NOW + SECOND, NOW + SECOND)).after
    assert (after.state, after.due_at, after.slot_at) == (TaskState.PENDING, NOW + SECOND, NOW + SECOND)
    assert (after.stalls, after.failures, after.interruptions, after.started_at) == (0, 0, 0, None)
    assert violations(after) == ()


def test_being_put_back_does_not_undo_an_earlier_start() -> None:
    claimed = decided(sample(1, started_at=NOW - HOUR), events.Claimed("ada", "token")).after
    assert decided(claimed, events.Limited(LimitKind.RATE, NOW + SECOND)).after.started_at == NOW - HOUR


def test_a_task_with_a_deadline_does_not_wait_beyond_it() -> None:
    for ending in ({"deadline_at": NOW + SECOND}, {"start_by": NOW + SECOND}):
        claimed = decided(sample(1, **ending), events.Claimed("ada", "token")).after
        after = decided(claimed, events.Limited(LimitKind.RATE, NOW + HOUR, NOW + HOUR)).after
        assert after.due_at == NOW + SECOND + timedelta(microseconds=1)


def test_history_says_which_limit_and_when_the_start_is() -> None:
    claimed = decided(sample(1), events.Claimed("ada", "token")).after
    (line,) = decided(claimed, events.Limited(LimitKind.RATE, NOW + SECOND, NOW + SECOND)).history
    assert line.kind is HistoryKind.LIMITED
    assert line.reason == "rate limit: slot at 2030-01-01T12:00:01+00:00"


def test_a_task_that_is_turned_away_fails_with_a_crash_of_its_own_kind() -> None:
    claimed = decided(sample(1), events.Claimed("ada", "token")).after
    after = decided(claimed, events.OverLimit(LimitKind.CONCURRENCY, "1 of 1 run already")).after
    assert after.state is TaskState.FAILED
    assert after.crash == Crash(CrashKind.LIMITED, "concurrency limit: 1 of 1 run already")


def test_who_is_let_in_comes_before_who_came_later() -> None:
    parked = sample(1, due_at=NOW + HOUR, limited_by=LimitKind.CONCURRENCY, created_at=NOW - HOUR)
    after = decided(parked, events.LetIn()).after
    assert (after.due_at, after.limited_by) == (NOW - HOUR, LimitKind.CONCURRENCY)


@pytest.mark.parametrize(
    ("policy", "lacks"),
    [
        (Policy(rate_limit=RateLimit(1, SECOND)), ("", None)),
        (Policy(concurrency_limit=ConcurrencyLimit(1)), (None, "")),
    ],
)
def test_a_task_that_is_older_than_its_limit_is_given_a_key_and_tried_again(
    policy: Policy, lacks: tuple[str | None, str | None]
) -> None:
    verdict = decide([sample(1)], {"send": policy}, rates={}, shares={}, now=NOW)
    ((record, event),) = verdict.turned_away
    claimed = decided(record, events.Claimed("ada", "token")).after
    change = decided(claimed, event)
    assert change.rewrites_request
    assert all(key == "" for key, lacked in zip(_keys(change.after), lacks, strict=True) if lacked is not None)
    assert (change.after.state, change.after.due_at, change.after.limited_by) == (TaskState.PENDING, NOW, None)


def _keys(record: TaskRecord) -> tuple[str | None, str | None]:
    return record.rate_key, record.concurrency_key


def test_what_is_decided_is_an_event_for_each_that_does_not_start() -> None:
    seen: list[Event] = [event for _, event in _decide([_task(1)], Shares(free=0, freed=0)).turned_away]
    assert [type(event) for event in seen] == [events.Limited]
    assert share_key(_task(1)) == LimitKey("send", "")


# The values


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ((0, SECOND), {}, "permits"),
        ((1.5, SECOND), {}, "permits"),
        ((1, timedelta(0)), {}, "per above zero"),
        ((1, 1), {}, "per above zero, and at most ten years, as a timedelta, got 1"),
        ((1, timedelta.max), {}, "per above zero, and at most ten years"),
        ((1, SECOND, 0), {}, "burst"),
        ((1, HOUR, 10**9), {}, "more than ten years"),
        ((1, SECOND), {"horizon": timedelta(0)}, "horizon"),
        ((1, SECOND), {"when_full": WhenFull.SPILL}, "WAIT or REJECT"),
        ((1, SECOND), {"key": "ada"}, "key to be a function"),
    ],
)
def test_a_rate_limit_that_cannot_be_kept_is_refused(
    arguments: tuple[Any, ...], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        RateLimit(*arguments, **options)


@pytest.mark.parametrize(
    ("most", "options", "said"),
    [
        (0, {}, "limit to be a whole number"),
        (True, {}, "limit to be a whole number"),
        (1, {"when_full": WhenFull.SPILL}, "WAIT or REJECT"),
        (1, {"key": 7}, "key to be a function"),
    ],
)
def test_a_concurrency_limit_that_cannot_be_kept_is_refused(most: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        ConcurrencyLimit(most, **options)


def test_a_key_is_stored_as_it_is_unless_no_store_could() -> None:
    for key in ("", "ada", "é" * KEY_CHARACTERS_MAX):
        assert stored_key(key) == key
    hashed = [stored_key(key) for key in ("x" * (KEY_CHARACTERS_MAX + 1), "a\0b", "\ud800", "\udfff")]
    assert len(set(hashed)) == len(hashed)
    assert all(key.startswith("sha256:") and len(key) == 71 for key in hashed)
