"""Deleting: whatever does not run, with its history, and never anything else."""

from __future__ import annotations

from milepost.lifecycle import events
from milepost.lifecycle.events import Event
from milepost.payload import JsonText
from milepost.stores.protocol import Store
from milepost.testing.conformance.kit import (
    apply,
    claim,
    claim_one,
    decided,
    delete,
    dump,
    history,
    insert,
    numbers,
    same,
    sample,
    samples,
    task_id,
    unchanged,
    write,
)

_X = JsonText("1")
_WAYS: tuple[Event, ...] = (
    events.Succeeded(_X),
    events.Failed(_X),
    events.GaveUp(_X),
    events.Stalled(),
    events.Suspended(_X),
    events.Interrupted(),
    events.Failed(_X, retryable=True),
)
"""From running to each of the states that do not run."""


async def a_deleted_task_is_gone_with_its_history(store: Store) -> None:
    ended = await apply(store, await claim_one(store, sample(1)), events.Succeeded(_X))
    await insert(store, sample(2))
    kept = await history(store, task_id(2))
    same(await delete(store, 1), 1, "how many are deleted")
    same(numbers((await dump(store)).records), [2], "what is left")
    same(await history(store, ended.id), [], "the history of a deleted task")
    same(await history(store, task_id(2)), kept, "the history of another")


async def a_running_task_is_not_deleted(store: Store) -> None:
    await claim_one(store, sample(1))
    before = await dump(store)
    same(await delete(store, 1), 0, "how many running tasks are deleted")
    await unchanged(store, before, "after deleting a running task")


async def a_delete_counts_what_it_removed(store: Store) -> None:
    await claim_one(store, sample(1))
    await insert(store, *samples(2, 3, 4))
    same(await delete(store, 1, 2, 4, 99), 2, "of a running, two waiting and an unknown task")
    same(await delete(store, 2, 4), 0, "of tasks that are gone already")
    same(await delete(store), 0, "of none")
    same(numbers((await dump(store)).records), [1, 3], "what is left")


async def every_state_but_running_can_be_deleted(store: Store) -> None:
    for n, event in enumerate(_WAYS):
        await apply(store, await claim_one(store, sample(n, queue=f"q{n}")), event)
    same(await delete(store, *range(len(_WAYS))), len(_WAYS), "how many are deleted")
    same((await dump(store)).records, [], "what is left")


async def a_deleted_task_is_neither_claimed_nor_due(store: Store) -> None:
    await insert(store, sample(1))
    await delete(store, 1)
    same(numbers(await claim(store)), [], "a claim after a delete")
    same(await store.read(lambda session: session.next_due({"send": 1}, ["default"])), None, "the next due time")


async def a_write_on_a_deleted_task_changes_nothing(store: Store) -> None:
    await insert(store, sample(1))
    await delete(store, 1)
    change = events.CancelRequested("enough")
    same(await write(store, decided(sample(1), change)), [False], "a write on a deleted task")
    same((await dump(store)).records, [], "what is there afterwards")
