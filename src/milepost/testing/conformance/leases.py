"""Executors and their leases, what they hold, what is asked of them, and what waits for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

import attrs

from milepost.lifecycle import events
from milepost.lifecycle.events import Event
from milepost.lifecycle.limits import ConcurrencyLimit, RateLimit
from milepost.lifecycle.queues import WhenFull
from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.terms import Terms
from milepost.payload import JsonText
from milepost.stores.protocol import Held, Lease, Session, Store
from milepost.testing.conformance.kit import (
    HOUR,
    NOW,
    SECOND,
    apply,
    claim,
    claim_one,
    delete,
    dump,
    insert,
    numbers,
    open_leases,
    same,
    sample,
    samples,
    unchanged,
)

_X = JsonText("1")
_ADA = Lease(
    executor="ada",
    host="höst 'a'",
    pid=2**31,
    started_at=NOW - HOUR,
    renewed_at=NOW,
    lease_until=NOW + timedelta(microseconds=1),
    slots=100,
    running=7,
    tasks={"send": 2, 'it\'s\na "näme"': 1},
    queues=("bulk", "ä 'queue', {of} \"sorts\"", ""),
    terms=Terms(
        stalls_max=7,
        queue_slots={"ä 'queue', {of} \"sorts\"": 3},
        rates={"send": RateLimit(100, timedelta(seconds=1), 1, horizon=timedelta(microseconds=1))},
        concurrency={'it\'s\na "näme"': ConcurrencyLimit(2, when_full=WhenFull.REJECT)},
    ),
)


async def an_opened_lease_is_listed_whole(store: Store) -> None:
    await store.transact(lambda session: session.open_lease(_ADA))
    same(await _leases(store), [_ADA], "the leases")


async def a_lease_for_all_queues_is_not_one_for_none(store: Store) -> None:
    for queues in (None, ()):
        lease = attrs.evolve(_ADA, queues=queues, tasks={})
        await store.transact(partial(_open, lease=lease))
        same(await _leases(store), [lease], f"a lease for the queues {queues!r}")


async def a_lease_that_is_opened_again_is_replaced(store: Store) -> None:
    await open_leases(store, "ada", "bob")
    await store.transact(lambda session: session.open_lease(_ADA))
    same([lease.executor for lease in await _leases(store)], ["ada", "bob"], "the executors")
    same((await _leases(store))[0], _ADA, "the lease that was opened again")


async def leases_are_listed_by_id_the_expired_ones_too(store: Store) -> None:
    await open_leases(store, "cid", "ada", until=NOW + HOUR)
    await open_leases(store, "bob", until=NOW - 1000 * HOUR)
    same([lease.executor for lease in await _leases(store)], ["ada", "bob", "cid"], "the executors")


async def a_renewed_lease_says_when_and_until_and_with_what_load(store: Store) -> None:
    await open_leases(store, "bob")
    await store.transact(lambda session: session.open_lease(_ADA))
    (bob,) = [lease for lease in await _leases(store) if lease.executor == "bob"]
    renewed = await store.transact(lambda s: s.renew("ada", now=NOW + SECOND, lease_until=NOW + HOUR, running=9))
    same(renewed, True, "the answer to renewing a lease")
    wanted = attrs.evolve(_ADA, renewed_at=NOW + SECOND, lease_until=NOW + HOUR, running=9)
    same(await _leases(store), [wanted, bob], "the leases after one was renewed")


async def an_expired_lease_can_be_renewed(store: Store) -> None:
    await open_leases(store, "ada", until=NOW - HOUR)
    same(await _renew(store, "ada"), True, "a late renew")


async def renewing_an_unknown_lease_answers_false(store: Store) -> None:
    await open_leases(store, "bob")
    before = await dump(store)
    same(await _renew(store, "ada"), False, "an unknown lease")
    await unchanged(store, before, "after renewing an unknown lease")


async def a_closed_lease_is_gone(store: Store) -> None:
    await open_leases(store, "ada", "bob")
    await store.transact(lambda session: session.close_lease("ada"))
    same([lease.executor for lease in await _leases(store)], ["bob"], "the executors after one was closed")
    same(await _renew(store, "ada"), False, "renewing it")
    await store.transact(lambda session: session.close_lease("ada"))
    same([lease.executor for lease in await _leases(store)], ["bob"], "the executors after closing it again")


async def closing_a_lease_leaves_the_tasks_to_others(store: Store) -> None:
    claimed = await claim_one(store, sample(1))
    await store.transact(lambda session: session.close_lease("ada"))
    same(await _held(store, "ada"), [_as_held(claimed)], "what a closed executor still owns")
    same(numbers(await claim(store, "bob")), [1], "what another takes over")
    same(await _held(store, "ada"), [], "what the closed executor owns then")


async def held_tells_the_running_tasks_of_an_executor(store: Store) -> None:
    await open_leases(store, "ada", "bob")
    await insert(store, *samples(3, 1, 2, 4))
    mine = [*await claim(store, "ada", limit=2), *await claim(store, "ada", limit=1)]
    theirs = await claim(store, "bob")
    same(await _held(store, "ada"), sorted(map(_as_held, mine), key=lambda held: held.id), "what ada owns, by id")
    same(await _held(store, "bob"), [_as_held(record) for record in theirs], "what bob owns")
    same(await _held(store, "cid"), [], "what an unknown executor owns")


async def held_ends_with_the_run(store: Store) -> None:
    ends: tuple[Event, ...] = (events.Succeeded(_X), events.Suspended(_X), events.Interrupted(), events.Stalled())
    for n, end in enumerate(ends):
        await apply(store, await claim_one(store, sample(n, due_at=NOW)), end)
        same(await _held(store, "ada"), [], f"what the executor owns after {type(end).__name__}")
        await delete(store, n)


async def held_tells_the_newest_fence_and_token(store: Store) -> None:
    await claim_one(store, sample(1))
    (again,) = await claim(store, "ada", now=NOW + 2 * HOUR)
    same(again.fence, 2, "the fence after an executor reclaimed its own")
    same(await _held(store, "ada"), [_as_held(again)], "what the executor owns")


async def cancel_requests_are_those_of_held_that_were_asked_for(store: Store) -> None:
    await open_leases(store, "ada", "bob")
    await insert(store, *samples(1, 2, 3))
    first, second = await claim(store, "ada", limit=2)
    (third,) = await claim(store, "bob")
    same(await _cancel_requests(store, "ada"), [], "before anybody asked")
    asked = await apply(store, second, events.CancelRequested("it's enough"))
    await apply(store, third, events.CancelRequested(""))
    same(await _cancel_requests(store, "ada"), [_as_held(asked)], "after somebody asked")
    same([held.cancel_reason for held in await _cancel_requests(store, "bob")], [""], "a request without a reason")
    same(await _held(store, "ada"), [_as_held(first), _as_held(asked)], "what ada owns")
    await apply(store, asked, events.CancelObeyed())
    same(await _cancel_requests(store, "ada"), [], "after the end")


async def next_due_is_the_earliest_that_could_be_claimed(store: Store) -> None:
    await insert(store, sample(1, due_at=NOW + 3 * HOUR), sample(2, due_at=NOW + 2 * HOUR, queue="slow"))
    await insert(store, sample(3, due_at=NOW + HOUR, name="other"), sample(4, due_at=NOW, version=2))
    await insert(store, sample(5, due_at=NOW + 4 * HOUR, priority=100))
    same(await _next_due(store, {"send": 1}, ["default"]), NOW + 3 * HOUR, "one name and queue")
    same(await _next_due(store, {"send": 1}, ["slow", "default"]), NOW + 2 * HOUR, "two queues")
    same(await _next_due(store, {"send": 1, "other": 1}, ["default"]), NOW + HOUR, "two names")
    same(await _next_due(store, {"send": 2}, ["default"]), NOW, "a newer version")


async def next_due_is_none_when_nothing_waits(store: Store) -> None:
    await apply(store, await claim_one(store, sample(1)), events.Suspended(_X))
    await apply(store, await claim_one(store, sample(2)), events.Succeeded(_X))
    await claim_one(store, sample(3))
    same(await _next_due(store, {"send": 1}, ["default"]), None, "parked, ended and running tasks only")
    same(await _next_due(store, {}, ["default"]), None, "no names")
    same(await _next_due(store, {"send": 1}, []), None, "no queues")


async def next_due_tells_of_wake_ups_and_of_the_past(store: Store) -> None:
    await apply(store, await claim_one(store, sample(1)), events.Suspended(_X, NOW + HOUR))
    same(await _next_due(store, {"send": 1}, ["default"]), NOW + HOUR, "a suspended task's wake-up")
    await insert(store, sample(2, due_at=NOW - HOUR))
    same(await _next_due(store, {"send": 1}, ["default"]), NOW - HOUR, "what is due already")


async def queues_are_those_in_which_a_known_task_waits_or_runs(store: Store) -> None:
    await insert(
        store, sample(1, queue="b"), sample(2, queue="c", name="other"), sample(3, queue="a", due_at=NOW + HOUR)
    )
    await insert(store, sample(4, queue="a"))
    await claim_one(store, sample(5, queue="run"))
    await apply(store, await claim_one(store, sample(6, queue="done")), events.Succeeded(_X))
    same(await _queues(store, {"send": 1}), ["a", "b", "run"], "the queues of one name")
    same(await _queues(store, {"send": 1, "other": 1}), ["a", "b", "c", "run"], "the queues of two names")
    same(await _queues(store, {"unknown": 1}), [], "the queues of an unknown name")


async def _renew(store: Store, executor: str) -> bool:
    return await store.transact(lambda s: s.renew(executor, now=NOW, lease_until=NOW + HOUR, running=0))


def _open(session: Session, lease: Lease) -> None:
    session.open_lease(lease)


async def _leases(store: Store) -> list[Lease]:
    return await store.read(lambda session: session.leases())


async def _held(store: Store, executor: str) -> list[Held]:
    return await store.read(lambda session: session.held(executor))


async def _cancel_requests(store: Store, executor: str) -> list[Held]:
    return await store.read(lambda session: session.cancel_requests(executor))


async def _next_due(store: Store, names: Mapping[str, int], queues: Sequence[str]) -> datetime | None:
    return await store.read(lambda session: session.next_due(names, queues))


async def _queues(store: Store, names: Mapping[str, int]) -> list[str]:
    return await store.read(lambda session: session.queues(names))


def _as_held(record: TaskRecord) -> Held:
    return Held(record.id, record.fence, record.token or "", record.cancel_reason)
