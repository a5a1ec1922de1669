"""Free slots are divided by weight, no queue is forgotten, and no slot stays free while something is due."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.executor.division import Division, Wish, divide, fill

NAMES = st.text("abcdef", min_size=1, max_size=2)
WEIGHTS = st.dictionaries(NAMES, st.integers(1, 20), min_size=1, max_size=6)
FREE = st.integers(1, 7)
PLENTY = 10**6


def backlogged(weights: Mapping[str, int]) -> dict[str, Wish]:
    return {queue: Wish(weight, PLENTY) for queue, weight in weights.items()}


def taker(due: Counter[str]) -> Callable[[str, int], int]:
    """Takes what is due, as much as it may."""

    def take(queue: str, slots: int) -> int:
        assert slots > 0
        used = min(slots, due[queue])
        due[queue] -= used
        return used

    return take


@given(weights=WEIGHTS, bounds=st.data(), free=st.integers(0, 50))
def test_every_slot_is_offered_and_no_queue_gets_more_than_it_could_take(
    weights: dict[str, int], bounds: st.DataObject, free: int
) -> None:
    wishes = {queue: Wish(weight, bounds.draw(st.integers(0, 20))) for queue, weight in weights.items()}
    portions = divide(free, wishes).portions
    assert sum(portions.values()) == min(free, sum(wish.most for wish in wishes.values()))
    assert all(0 <= portion <= wishes[queue].most for queue, portion in portions.items())


@pytest.mark.slow
@settings(max_examples=25)
@given(weights=WEIGHTS, free=FREE)
def test_in_the_long_run_shares_are_as_weights(weights: dict[str, int], free: int) -> None:
    given_out: Counter[str] = Counter()
    passes: Mapping[str, float] = {}
    turns = 60 * sum(weights.values()) // free
    for _ in range(turns):
        division = divide(free, backlogged(weights), passes)
        given_out.update(division.portions)
        passes = division.passes
    for queue, weight in weights.items():
        fair = turns * free * weight / sum(weights.values())
        assert given_out[queue] == pytest.approx(fair, rel=0.05)


@pytest.mark.slow
@given(weights=WEIGHTS, free=FREE)
def test_each_of_k_weights_gets_a_slot_within_k_turns(weights: dict[str, int], free: int) -> None:
    since = dict.fromkeys(weights, 0)
    passes: Mapping[str, float] = {}
    for _ in range(4 * sum(weights.values())):
        division = divide(free, backlogged(weights), passes)
        passes = division.passes
        since = {queue: 0 if division.portions[queue] else turns + 1 for queue, turns in since.items()}
        assert max(since.values()) < sum(weights.values())


@pytest.mark.slow
@settings(max_examples=25)
@given(weights=st.dictionaries(NAMES, st.integers(1, 20), min_size=2, max_size=6), coming=st.randoms())
def test_queues_that_come_and_go_keep_no_other_waiting(weights: dict[str, int], coming: Random) -> None:
    """One slot a turn; the first queue is always there, the others as they like."""
    (steady, weight), *others = weights.items()
    got, passes, turns = 0, dict[str, float](), 300
    for _ in range(turns):
        present = {queue: w for queue, w in others if coming.random() < 0.5} | {steady: weight}
        division = divide(1, backlogged(present), passes)
        passes = dict(division.passes)
        got += division.portions[steady]
    assert got >= 0.95 * turns * weight / sum(weights.values()) - 1


def test_ever_new_queues_keep_no_old_one_waiting() -> None:
    passes: Mapping[str, float] = {}
    got = 0
    for turn in range(100):
        division = divide(1, backlogged({"old": 1, f"new{turn}": 1}), passes)
        passes = division.passes
        got += division.portions["old"]
    assert got >= 50
    assert len(passes) < 10, "the passes of queues that are gone are kept for ever"


def test_an_empty_queue_saves_nothing_up() -> None:
    passes: Mapping[str, float] = {}
    for _ in range(1_000):  # "empty" is offered slots and uses none
        passes = divide(4, backlogged({"busy": 1, "empty": 1}), passes).passes
    assert divide(4, backlogged({"busy": 1, "empty": 1}), passes).portions == {"busy": 2, "empty": 2}


def test_a_queue_that_was_away_saves_nothing_up() -> None:
    passes: Mapping[str, float] = divide(4, backlogged({"busy": 1, "away": 1})).passes
    for _ in range(1_000):
        passes = divide(4, backlogged({"busy": 1, "other": 1}), passes).passes
    portions = divide(6, backlogged({"busy": 1, "away": 1, "other": 1}), passes).portions
    assert max(portions.values()) <= 3


@pytest.mark.slow
@given(
    weights=WEIGHTS,
    due=st.dictionaries(NAMES, st.integers(0, 30)),
    bounds=st.data(),
    free=st.integers(0, 40),
)
def test_no_slot_stays_free_while_something_is_due(
    weights: dict[str, int], due: dict[str, int], bounds: st.DataObject, free: int
) -> None:
    wishes = {queue: Wish(weight, bounds.draw(st.integers(0, 20))) for queue, weight in weights.items()}
    left = Counter(due)
    free_after = fill(free, wishes, divide(free, wishes), taker(left))
    used = {queue: due.get(queue, 0) - left[queue] for queue in weights}
    assert free_after == free - sum(used.values())
    assert all(used[queue] <= wishes[queue].most for queue in weights)
    could = [queue for queue in weights if left[queue] and used[queue] < wishes[queue].most]
    assert not free_after or not could


def test_what_shares_left_unused_goes_first_to_who_is_next() -> None:
    wishes = backlogged({"a": 1, "b": 1, "empty": 2})
    division = Division({"b": 2, "a": 2, "empty": 4}, {})
    due = Counter({"a": 100, "b": 100})
    assert fill(8, wishes, division, taker(due)) == 0
    assert (due["a"], due["b"]) == (98, 94)
