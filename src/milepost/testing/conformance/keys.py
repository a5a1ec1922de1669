"""A key is unique among the live tasks of one name, and free again after the end."""

from __future__ import annotations

import trio

from milepost.errors import StoreError
from milepost.lifecycle import events
from milepost.lifecycle.events import Event
from milepost.payload import JsonText
from milepost.stores.protocol import Store
from milepost.testing.conformance.kit import (
    SECOND,
    apply,
    claim_one,
    decided,
    delete,
    dump,
    get,
    holders,
    insert,
    numbers,
    refused,
    same,
    sample,
    samples,
    task_id,
    unchanged,
    write,
)

_X = JsonText("1")
_STAYS: tuple[Event, ...] = (
    events.Committed(_X),
    events.Suspended(_X),
    events.Suspended(None, at_once=True),
    events.Failed(_X, retry_after=SECOND),
    events.Interrupted(),
    events.Stalled(),
)
"""What leaves a task alive."""


async def a_taken_key_is_an_error_and_nothing_is_inserted(store: Store) -> None:
    await insert(store, sample(1, key="k"))
    before = await dump(store)
    with refused(StoreError, "inserting a second live task with the same name and key"):
        await insert(store, sample(2), sample(3, key="k"), sample(4))
    await unchanged(store, before, "after a refused insert")


async def a_key_twice_in_one_insert_is_an_error(store: Store) -> None:
    before = await dump(store)
    with refused(StoreError, "inserting two tasks with the same name and key"):
        await insert(store, *samples(1, 2, key="k"))
    await unchanged(store, before, "after a refused insert")


async def an_id_twice_is_an_error(store: Store) -> None:
    await insert(store, sample(1))
    before = await dump(store)
    with refused(StoreError, "inserting an id that is there already"):
        await insert(store, sample(1, name="other"))
    await unchanged(store, before, "after a refused insert")


async def keys_are_unique_per_name_and_compared_exactly(store: Store) -> None:
    await insert(store, sample(1, key="k"), sample(2, key="K"), sample(3, key="k "), sample(4, key="é"))
    await insert(store, sample(5, key="k", name="other"), sample(6, key="e\u0301"), sample(7, key=""))
    same(numbers((await dump(store)).records), [1, 2, 3, 4, 5, 6, 7], "tasks with keys that only look alike")


async def tasks_without_a_key_do_not_disturb_each_other(store: Store) -> None:
    await insert(store, *samples(*range(5), key=None))
    same(len((await dump(store)).records), 5, "how many tasks without a key")


async def a_key_is_free_again_after_each_kind_of_end(store: Store) -> None:
    ends: tuple[Event, ...] = (events.Succeeded(_X), events.Failed(_X), events.GaveUp(_X), events.DeadlineMissed())
    for n, end in enumerate(ends):
        await apply(store, await claim_one(store, sample(n, key="k")), end)
    await insert(store, sample(100, key="k"))
    await apply(store, sample(100, key="k"), events.CancelRequested("enough"))
    await insert(store, sample(101, key="k"))
    same(len((await dump(store)).records), len(ends) + 2, "how many tasks had the key, one after the other")


async def a_key_is_held_in_every_live_state(store: Store) -> None:
    for n, stay in enumerate(_STAYS):
        claimed = await claim_one(store, sample(n, key=f"k{n}", queue=f"q{n}"))
        record = await apply(store, claimed, stay)
        with refused(StoreError, f"a key of a {record.state.value} task"):
            await insert(store, sample(100 + n, key=f"k{n}"))


async def a_deleted_task_gives_its_key_back(store: Store) -> None:
    await insert(store, sample(1, key="k"))
    await delete(store, 1)
    await insert(store, sample(2, key="k"))
    same(numbers((await dump(store)).records), [2], "the tasks after a delete and an insert")


async def a_requeue_cannot_take_a_key_that_another_holds(store: Store) -> None:
    ended = await apply(store, await claim_one(store, sample(1, key="k")), events.Succeeded(_X))
    await insert(store, sample(2, key="k"))
    before = await dump(store)
    with refused(StoreError, "making a second task with the same key live"):
        await write(store, decided(ended, events.Requeued()))
    await unchanged(store, before, "after a refused requeue")


async def a_requeue_takes_its_key_back(store: Store) -> None:
    ended = await apply(store, await claim_one(store, sample(1, key="k")), events.Succeeded(_X))
    await apply(store, ended, events.Requeued())
    with refused(StoreError, "inserting a task with the key of a requeued one"):
        await insert(store, sample(2, key="k"))


async def holders_are_the_live_tasks(store: Store) -> None:
    await insert(store, sample(1, key="a"), sample(2, key="b"), sample(3, key="a", name="other"))
    await apply(store, sample(2, key="b"), events.CancelRequested("enough"))
    asked = [("send", "a"), ("send", "b"), ("other", "a"), ("other", "b"), ("send", "a")]
    held = await holders(store, *asked)
    wanted = {("send", "a"): await get(store, task_id(1)), ("other", "a"): await get(store, task_id(3))}
    same(held, wanted, "the holders of five keys, three of them free")
    same(await holders(store), {}, "the holders of no keys")


async def a_holder_is_told_as_it_is_now(store: Store) -> None:
    claimed = await claim_one(store, sample(1, key="k"))
    held = await holders(store, ("send", "k"))
    same(held, {("send", "k"): claimed}, "the holder, which runs")


async def of_many_who_want_a_key_one_gets_it(store: Store) -> None:
    refusals: list[StoreError] = []

    async def want(n: int) -> None:
        try:
            await insert(store, sample(n, key="k"), sample(n + 100))
        except StoreError as error:
            refusals.append(error)

    async with trio.open_nursery() as nursery:
        for n in range(10):
            nursery.start_soon(want, n)
    same(len(refusals), 9, "how many of ten inserts at once are refused")
    same(len((await dump(store)).records), 2, "how many tasks of ten pairs are there")
