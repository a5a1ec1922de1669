"""Two callers at one family of tasks, in every order: no end is missed, nobody is woken twice or never, and none of the
two has to be rolled back for the other.

Each race is run with either of the two stopped in the middle (`racing.Point`), as those of one task are.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from itertools import count
from pathlib import Path
from typing import final

import pytest
from attrs import frozen

from milepost import Store
from milepost.lifecycle import events
from milepost.lifecycle.draft import Draft
from milepost.lifecycle.events import Event
from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.ties import Join, Tie
from milepost.stores import flow, operations
from milepost.stores.flow import Carried
from milepost.stores.open import connect_store
from milepost.stores.protocol import Session
from milepost.testing.conformance.kit import decided, task_id
from tests.database import store_url
from tests.reliability.racing import Call, Point, Track, threads
from tests.stores.relations import DONE, FAILED, Family, ask, head

pytestmark = pytest.mark.slow

POINTS = (Point.WRITE, Point.COMMIT)
_numbers = count(1, 100)


@final
@frozen
class Action:
    """What one side does, to the family whose tasks are numbered from `base` on."""

    change: Callable[[Session, int], object]

    def __call__(self, store: Store, base: int) -> str:
        """In one transaction; tells when it had to be begun again."""
        tries: list[int] = []

        def function(session: Session) -> object:
            tries.append(base)
            return self.change(session, base)

        store.transact_blocking(function)
        return "done" if len(tries) == 1 else f"begun {len(tries)} times"


def ends(n: int, event: Event, *follow_ups: Callable[[int], Draft]) -> Action:
    """The run of the n-th task hands in its answer, and looks again where somebody has changed the task meanwhile."""

    def change(session: Session, base: int) -> None:
        known = RUNNING[base, n]
        drafts = tuple(make(base) for make in follow_ups)
        if not hand_in(session, known, event, drafts):
            (fresh,) = session.get([known.id])
            hand_in(session, fresh, event, drafts)

    return Action(change)


def hand_in(session: Session, known: TaskRecord, event: Event, drafts: tuple[Draft, ...]) -> bool:
    answer = decided(known, event, now=session.now())
    return flow.carry(session, [Carried(answer, drafts)], now=session.now()) == [True]


def cancels_tree(n: int) -> Action:
    return Action(lambda session, base: operations.cancel(session, task_id(base + n), "enough", descendants=True))


def cancels(n: int) -> Action:
    return Action(lambda session, base: operations.cancel(session, task_id(base + n), "enough"))


def requeues(n: int, *, descendants: bool = False) -> Action:
    return Action(
        lambda session, base: operations.requeue(session, task_id(base + n), from_start=False, descendants=descendants)
    )


RUNNING: dict[tuple[int, int], TaskRecord] = {}
"""The runs of tasks, as they knew them when they began."""


def begins(family: Family, base: int, *numbers: int) -> None:
    for n in numbers:
        RUNNING[base, n] = family.run(base + n)


# Families


def parent_of_two(family: Family, base: int, join: Join = Join.ALL_FINISHED) -> None:
    """1 waits for 2 and 3, which run."""
    family.join(base + 1, ask(base + 2), ask(base + 3), join=join)
    begins(family, base, 2, 3)


def parent_of_one_that_ended(family: Family, base: int) -> None:
    """1 waits for 2, which has failed, and for 3, which runs."""
    parent_of_two(family, base)
    family.run(base + 2, FAILED)


def cancelled_parent(family: Family, base: int) -> None:
    """1 was cancelled while it waited for 2 and 3, which run."""
    parent_of_two(family, base)
    family.cancel(base + 1)


def cousins(family: Family, base: int) -> None:
    """1 waits for the groups 2 and 3, which have the members 4 and 5, which run."""
    groups = [each for n in (2, 3) for each in (ask(base + n + 2, parent=base + n), head(base + n, of=[base + n + 2]))]
    family.join(base + 1, *groups, join=Join.ALL_FINISHED_FAIL_FAST)
    begins(family, base, 4, 5)


def strangers(family: Family, base: int) -> None:
    """1 runs, and so does 2, which holds a key."""
    family.enqueue(ask(base + 1), ask(base + 2, key=f"key {base}"))
    begins(family, base, 1, 2)


def hooked_parent(family: Family, base: int) -> None:
    """1, which has an `on_outcome`, waits for 2, which runs."""
    family.enqueue(ask(base + 1, ties=Tie.HOOKED))
    family.join(base + 1, ask(base + 2))
    begins(family, base, 2)


# What must hold afterwards


def woken_once(family: Family, base: int) -> None:
    assert family.states(base + 1) == "pending"
    assert "-" not in family.ends(base + 1)
    assert sum(line.startswith("woken") for line in family.history(base + 1)) == 1


def woken_or_waiting(family: Family, base: int) -> None:
    """Who waits has somebody to wait for; who goes on has nobody left."""
    assert (family.states(base + 1) == "suspended") is ("-" in family.ends(base + 1))


def nothing_lives(family: Family, base: int) -> None:
    tasks = [family.record(base + n) for n in range(1, 10) if family.there(base + n)]
    assert [record.state.value for record in tasks if record.state.is_live] == []


def reopened_or_gone_on(family: Family, base: int) -> None:
    """Either 1 waits for 2 again, or it goes on with the end that it knew."""
    waits = (family.states(base + 1), family.ends(base + 1)) == ("suspended", ["-", "completed"])
    goes_on = (family.states(base + 1), family.ends(base + 1)) == ("pending", ["failed", "completed"])
    assert waits or goes_on
    assert family.states(base + 2) == "pending"


def companion_goes_on(family: Family, base: int) -> None:
    companions = [each for each in family.named("send:on-outcome") if each.parent == task_id(base + 1)]
    assert [each.state.value for each in companions] == ["pending"]


@final
@frozen
class Race:
    """Two at a family, and what holds whoever was first."""

    family: Callable[[Family, int], None]
    one: Action
    other: Action
    holds: Callable[[Family, int], None]
    may_begin_again: bool = False


def joins_by_key(base: int) -> Draft:
    return ask(base + 3, key=f"key {base}")


def follow_up(base: int) -> Draft:
    return ask(base + 6)


WAITS = events.Suspended(None, join=Join.ALL_FINISHED, enqueues=True)

RACES: dict[str, Race] = {
    "the last two children end": Race(parent_of_two, ends(2, DONE), ends(3, FAILED), woken_once),
    "two children fail, where the first failure cancels the others": Race(
        partial(parent_of_two, join=Join.ALL_FINISHED_FAIL_FAST), ends(2, FAILED), ends(3, FAILED), woken_once
    ),
    "a child fails and the other one succeeds, where the first failure cancels the others": Race(
        partial(parent_of_two, join=Join.ALL_FINISHED_FAIL_FAST), ends(2, FAILED), ends(3, DONE), woken_once
    ),
    # Each locks its own group, and only then finds that the other's is to be cancelled.
    "two groups of one fail, where the first failure cancels the others": Race(
        cousins, ends(4, FAILED), ends(5, FAILED), woken_once, may_begin_again=True
    ),
    "two groups of one succeed": Race(cousins, ends(4, DONE), ends(5, DONE), woken_once),
    "the last child ends and one that had ended is requeued": Race(
        parent_of_one_that_ended, ends(3, DONE), requeues(2), reopened_or_gone_on
    ),
    "a task ends and another one begins to wait for it": Race(
        strangers, ends(2, DONE), ends(1, WAITS, joins_by_key), woken_or_waiting
    ),
    "the tree is cancelled and a run in it enqueues more": Race(
        parent_of_two,
        cancels_tree(1),
        ends(2, DONE, follow_up),
        lambda family, base: nothing_lives_but(family, base, 3),
    ),
    "a parent with an on_outcome is cancelled and its child ends": Race(
        hooked_parent, cancels(1), ends(2, DONE), companion_goes_on
    ),
    "the last child ends and its parent is cancelled": Race(
        parent_of_one_that_ended, ends(3, DONE), cancels(1), lambda family, base: nothing_lives(family, base)
    ),
    "a cancelled parent is opened again and a child of it ends": Race(
        cancelled_parent,
        requeues(1, descendants=True),
        ends(2, DONE),
        woken_or_waiting,
    ),
}


def nothing_lives_but(family: Family, base: int, running: int) -> None:
    """What runs was asked to end, and nothing else lives."""
    assert family.record(base + running).cancel_requested_at is not None
    family.run(base + running, events.CancelObeyed())
    nothing_lives(family, base)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return store_url(request.param, request, tmp_path)


@pytest.fixture
def family(url: str) -> Generator[Family]:
    store = connect_store(url)
    try:
        yield Family(store)
    finally:
        store.close()


@pytest.fixture
def track(url: str, family: Family) -> Generator[Track]:
    with threads(url) as track:
        yield track


@pytest.mark.parametrize("name", RACES)
def test_whoever_is_first_no_end_is_missed_and_nobody_is_rolled_back(name: str, family: Family, track: Track) -> None:
    race = RACES[name]
    for first, second in ((race.one, race.other), (race.other, race.one)):
        for point in POINTS:
            base = next(_numbers)
            race.family(family, base)
            finish = track.race(Call(first, (base,)), Call(second, (base,)), point)
            assert race.may_begin_again or (finish.first, finish.second) == ("done", "done")
            race.holds(family, base)
