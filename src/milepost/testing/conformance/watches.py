"""Hints: what was committed wakes those who watch for it, from the moment on that they watch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import trio
from trio.testing import wait_all_tasks_blocked

from milepost.lifecycle import events
from milepost.lifecycle.events import Event
from milepost.payload import JsonText
from milepost.stores.protocol import ANY_HINT, Hint, Store, Watch
from milepost.testing.conformance.kit import (
    HOUR,
    apply,
    claim,
    claim_one,
    delete,
    holds,
    insert,
    open_leases,
    same,
    sample,
)

_X = JsonText("1")
_LONG = 20.0
_SHORT = 0.01


async def a_watch_hears_what_becomes_due(store: Store) -> None:
    await _is_heard(store, Hint.DUE, lambda: insert(store, sample(1)))


async def a_watch_hears_a_retry_and_a_release(store: Store) -> None:
    ways: tuple[Event, ...] = (events.Failed(_X, retry_after=HOUR), events.Suspended(_X, HOUR), events.Interrupted())
    for n, way in enumerate(ways):
        claimed = await claim_one(store, sample(n))
        await _is_heard(store, Hint.DUE, partial(apply, store, claimed, way))


async def a_watch_hears_a_cancel_request(store: Store) -> None:
    claimed = await claim_one(store, sample(1))
    await _is_heard(store, Hint.CANCEL, lambda: apply(store, claimed, events.CancelRequested("enough")))


async def a_watch_hears_every_end(store: Store) -> None:
    ends: tuple[Event, ...] = (events.Succeeded(_X), events.Failed(_X), events.GaveUp(_X), events.Stalled())
    for n, end in enumerate(ends):
        claimed = await claim_one(store, sample(n))
        await _is_heard(store, Hint.FINAL, partial(apply, store, claimed, end))


async def a_watch_hears_a_delete(store: Store) -> None:
    await insert(store, sample(1))
    await _is_heard(store, Hint.FINAL, partial(delete, store, 1))


async def a_watch_hears_what_happened_before_it_waits(store: Store) -> None:
    watch = store.watch(ANY_HINT)
    await insert(store, sample(1))
    same(await watch.wait(_LONG), True, "a wait after a hint")
    same(await watch.wait(_SHORT), False, "a second wait after the same hint")
    await insert(store, sample(2))
    same(await watch.wait(_LONG), True, "a wait after a hint between two waits")
    watch.close()


async def a_wait_without_a_hint_times_out(store: Store) -> None:
    watch = store.watch(ANY_HINT)
    same(await watch.wait(_SHORT), False, "a wait for nothing")
    same(await watch.wait(0), False, "a wait of no time")
    same(await trio.to_thread.run_sync(watch.wait_blocking, _SHORT), False, "a blocking wait for nothing")
    watch.close()


async def a_watch_does_not_hear_what_it_does_not_watch_for(store: Store) -> None:
    claimed = await claim_one(store, sample(1))
    finals, dues = store.watch(Hint.FINAL), store.watch(Hint.DUE | Hint.CANCEL)
    await insert(store, sample(2))
    same(await finals.wait(_SHORT), False, "a watch for ends, after an insert")
    same(await dues.wait(_LONG), True, "a watch for due tasks, after an insert")
    await apply(store, claimed, events.Succeeded(_X))
    same(await dues.wait(_SHORT), False, "a watch for due tasks, after an end")
    same(await finals.wait(_LONG), True, "a watch for ends, after an end")


async def a_lease_gives_no_hint(store: Store) -> None:
    watch = store.watch(ANY_HINT)
    await open_leases(store, "ada")
    await claim(store)
    same(await watch.wait(_SHORT), False, "a watch, after a lease and an empty claim")
    watch.close()


async def every_watch_hears(store: Store) -> None:
    watches = [store.watch(Hint.DUE) for _ in range(3)]
    heard: list[bool] = []

    async def listen(watch: Watch) -> None:
        heard.append(await watch.wait(_LONG))

    async with trio.open_nursery() as nursery:
        for watch in watches:
            nursery.start_soon(listen, watch)
        await wait_all_tasks_blocked()
        await insert(store, sample(1))
    same(heard, [True] * 3, "three watches at once")


async def a_hint_from_a_thread_wakes_trio(store: Store) -> None:
    watch = store.watch(Hint.DUE)
    heard: list[bool] = []

    async def listen() -> None:
        heard.append(await watch.wait(_LONG))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await wait_all_tasks_blocked()
        insert_one: Callable[[], None] = lambda: store.transact_blocking(lambda s: s.insert([sample(1)]))  # noqa: E731
        await trio.to_thread.run_sync(insert_one)
    same(heard, [True], "a wait in trio, after an insert by a thread")
    watch.close()


async def a_hint_from_trio_wakes_a_thread(store: Store) -> None:
    watch = store.watch(Hint.DUE)
    heard: list[bool] = []

    async def listen() -> None:
        heard.append(await trio.to_thread.run_sync(watch.wait_blocking, _LONG))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await trio.lowlevel.checkpoint()
        await insert(store, sample(1))
    same(heard, [True], "a wait in a thread, after an insert by trio")
    watch.close()


async def a_cancelled_wait_leaves_the_hint_to_the_next(store: Store) -> None:
    watch = store.watch(Hint.DUE)
    await insert(store, sample(1))
    with trio.CancelScope() as scope:
        scope.cancel()
        await watch.wait(_LONG)
    holds(scope.cancelled_caught, "a cancelled wait goes on")
    same(await watch.wait(_LONG), True, "the wait after a cancelled one")
    watch.close()


async def a_closed_watch_does_not_disturb_the_others(store: Store) -> None:
    closed, watch = store.watch(Hint.DUE), store.watch(Hint.DUE)
    closed.close()
    await insert(store, sample(1))
    same(await watch.wait(_LONG), True, "a watch beside a closed one")
    watch.close()


async def _is_heard(store: Store, hint: Hint, act: Callable[[], Awaitable[object]]) -> None:
    """Fail unless `act` is heard by a watch that waits already and by one that waits afterwards."""
    waiting, later = store.watch(hint), store.watch(hint)
    heard: list[bool] = []

    async def listen() -> None:
        heard.append(await waiting.wait(_LONG))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await wait_all_tasks_blocked()
        await act()
    same(heard, [True], f"a wait for {hint.name} during the change")
    same(await later.wait(_LONG), True, f"a wait for {hint.name} after the change")
    waiting.close()
    later.close()
