"""In which order tasks are claimed, and how expired and due ones share a claim."""

from __future__ import annotations

from milepost.lifecycle import events
from milepost.stores.protocol import Store
from milepost.testing.conformance.kit import (
    HOUR,
    NOW,
    SECOND,
    apply,
    claim,
    insert,
    numbers,
    open_leases,
    same,
    sample,
    samples,
)

_LATE = NOW + 2 * HOUR
"""When the leases that `_expire` opened have run out."""


async def a_higher_priority_is_claimed_first(store: Store) -> None:
    await insert(store, sample(1, priority=-1), sample(2, priority=0), sample(3, priority=7, due_at=NOW))
    await insert(store, sample(4, priority=7, due_at=NOW - HOUR), sample(5, priority=0, due_at=NOW - HOUR))
    same(numbers(await claim(store)), [4, 3, 5, 2, 1], "the order by priority, then due time")


async def a_high_priority_that_is_not_due_does_not_block(store: Store) -> None:
    await insert(store, sample(1, priority=9, due_at=NOW + HOUR), sample(2))
    same(numbers(await claim(store, limit=1)), [2], "what is due, under a future task of high priority")


async def what_was_due_first_is_claimed_first(store: Store) -> None:
    for n, seconds in ((1, 3), (2, 1), (3, 5), (4, 2)):
        await insert(store, sample(n, due_at=NOW - seconds * SECOND))
    same(numbers(await claim(store)), [3, 1, 4, 2], "the order by due time")


async def of_equal_due_times_the_first_to_arrive_is_claimed_first(store: Store) -> None:
    await insert(store, *samples(5, 2, 9))
    await insert(store, *samples(1))
    same(numbers(await claim(store)), [5, 2, 9, 1], "the order of arrival, whatever the ids")


async def names_and_versions_do_not_change_the_order(store: Store) -> None:
    await insert(store, sample(1, name="b", version=2), sample(2, name="a"), sample(3, name="b"), sample(4, name="a"))
    await insert(store, sample(5, name="a", due_at=NOW - SECOND), sample(6, name="b", priority=1))
    same(numbers(await claim(store, names={"a": 1, "b": 2})), [6, 5, 1, 2, 3, 4], "the order across names")


async def the_limit_takes_the_first_of_the_order(store: Store) -> None:
    for n, seconds in ((1, 3), (2, 1), (3, 5), (4, 2)):
        await insert(store, sample(n, due_at=NOW - seconds * SECOND))
    await open_leases(store, "ada")
    same([numbers(await claim(store, limit=2)), numbers(await claim(store, limit=2))], [[3, 1], [4, 2]], "two by two")


async def a_retried_task_waits_by_its_new_due_time(store: Store) -> None:
    await open_leases(store, "ada")
    await insert(store, sample(1))
    (claimed,) = await claim(store)
    await apply(store, claimed, events.Failed(claimed.metadata_json, retry_after=SECOND))
    await insert(store, sample(2, due_at=NOW + 2 * SECOND), sample(3, due_at=NOW))
    same(numbers(await claim(store, now=NOW + HOUR)), [3, 1, 2], "the order by due time, a retry among them")


async def expired_tasks_come_first(store: Store) -> None:
    await _expire(store, 1)
    await insert(store, *samples(2, 3, priority=100))
    same(numbers(await claim(store, "bob", now=_LATE)), [1, 2, 3], "an expired task before due ones")


async def expired_tasks_take_at_most_half_rounded_up(store: Store) -> None:
    await _expire(store, *range(8))
    await insert(store, *samples(*range(100, 110)))
    await open_leases(store, "bob", until=_LATE + HOUR)
    taken = numbers(await claim(store, "bob", limit=5, now=_LATE))
    same([n < 100 for n in taken], [True] * 3 + [False] * 2, "which of a claim of 5 are expired ones")
    same(taken[3:], [100, 101], "the due ones")
    taken = numbers(await claim(store, "bob", limit=4, now=_LATE))
    same([n < 100 for n in taken], [True] * 2 + [False] * 2, "which of a claim of 4 are expired ones")


async def expired_tasks_take_half_even_if_nothing_is_due(store: Store) -> None:
    await _expire(store, *range(8))
    await open_leases(store, "bob", until=_LATE + HOUR)
    same(len(await claim(store, "bob", limit=6, now=_LATE)), 3, "how many of 8 expired ones a claim of 6 takes")


async def due_tasks_fill_what_expired_ones_leave(store: Store) -> None:
    await _expire(store, 1)
    await insert(store, *samples(*range(100, 110)))
    taken = numbers(await claim(store, "bob", limit=6, now=_LATE))
    same(taken, [1, 100, 101, 102, 103, 104], "one expired task and due ones up to the limit")


async def expired_tasks_are_taken_beside_few_due_ones(store: Store) -> None:
    await _expire(store, *range(8))
    await insert(store, sample(100))
    taken = numbers(await claim(store, "bob", limit=4, now=_LATE))
    same([n < 100 for n in taken], [True, True, False], "half of the limit expired, then the only due one")


async def a_claim_of_one_prefers_a_due_task(store: Store) -> None:
    await _expire(store, 1)
    await insert(store, sample(2))
    await open_leases(store, "bob", until=_LATE + HOUR)
    same(numbers(await claim(store, "bob", limit=1, now=_LATE)), [2], "of one expired and one due task")
    same(numbers(await claim(store, "bob", limit=1, now=_LATE)), [1], "the expired one, once nothing is due")


async def _expire(store: Store, *ids: int) -> None:
    """Leave tasks running under a lease that has run out at `_LATE`."""
    await open_leases(store, "dead")
    await insert(store, *samples(*ids))
    same(len(await claim(store, "dead")), len(ids), "how many the check itself claims")
