"""Whole tasks out of one store and into another: exact, in order of arrival, and alive there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from milepost.errors import StoreError
from milepost.lifecycle import events
from milepost.lifecycle.record import Audit, TaskRecord
from milepost.payload import JsonText
from milepost.stores.memory import MemoryStore
from milepost.stores.protocol import Store, TaskCopy
from milepost.testing.conformance.kit import (
    EVERYTHING,
    NOW,
    SECOND,
    Dump,
    apply,
    claim,
    claim_one,
    delete,
    dump,
    history,
    insert,
    numbers,
    refused,
    same,
    sample,
    samples,
    task_id,
    unchanged,
)

_X = JsonText('{"x":[1.0,-0.0,1e16]}')


async def copy_out_gives_every_task_in_order_of_arrival(store: Store) -> None:
    await insert(store, *samples(5, 3, 9))
    await insert(store, *samples(1, 7))
    await claim(store, limit=2)
    await delete(store, 9)
    same(numbers(copy.record for copy in await _copies(store)), [5, 3, 1, 7], "the tasks that are copied")


async def copy_out_goes_on_behind_a_number(store: Store) -> None:
    await insert(store, *samples(5, 3, 9, 1))
    first = await _copies(store, limit=3)
    rest = await _copies(store, after=first[-1].number)
    same(numbers(copy.record for copy in (*first, *rest)), [5, 3, 9, 1], "two pages")
    same(await _copies(store, after=rest[-1].number), [], "a page behind the last task")
    same(await _copies(store, limit=0), [], "a page of nothing")


async def copy_out_tells_records_whole_and_the_stored_history(store: Store) -> None:
    await _furnish(store)
    before = await dump(store)
    for copy in await _copies(store):
        same([copy.record], [record for record in before.records if record.id == copy.record.id], "a copied record")
        stored = [line for line in before.history[copy.record.id] if line.kind.value != "enqueued"]
        same(list(copy.history), stored, f"the copied history of task {numbers([copy.record])}")
    await unchanged(store, before, "after copying out")


async def what_was_copied_in_reads_as_it_did(store: Store) -> None:
    source = MemoryStore()
    await _furnish(source)
    before = await dump(source)
    copies = await _copies(source)
    await _take(store, copies)
    after = await dump(store)
    for record, earlier in zip(after.records, before.records, strict=True):
        same(record, earlier, "a record that was copied in")
    same(after, Dump(before.records, before.history, []), "the store that was copied into")
    same([copy.record for copy in await _copies(store)], [copy.record for copy in copies], "the order of arrival")


async def what_was_copied_in_goes_on_from_there(store: Store) -> None:
    source = MemoryStore()
    claimed = await apply(source, await claim_one(source, sample(1, audit=Audit.FULL)), events.Committed(_X))
    before = await history(source, task_id(1))
    copies = await _copies(source)
    await _take(store, copies)
    done = await apply(store, claimed, events.Succeeded(_X))
    same(done.state.value, "completed", "a task that ended after it was copied")
    after = await history(store, task_id(1))
    same(after[: len(before)], before, "the history from before the copy")
    same([line.state.value for line in after[len(before) :]], ["completed"], "what came after it")


async def what_ran_when_it_was_copied_is_taken_over(store: Store) -> None:
    source = MemoryStore()
    await claim_one(source, sample(1))
    copies = await _copies(source)
    await _take(store, copies)
    (taken,) = await claim(store, "bob")
    same((taken.executor, taken.fence), ("bob", 2), "the new owner and fence")


async def what_was_copied_in_keeps_its_order_of_arrival(store: Store) -> None:
    source = MemoryStore()
    await insert(source, *samples(5, 3, 9, 1))
    copies = await _copies(source)
    await insert(store, sample(8))
    await _take(store, copies)
    await insert(store, sample(2))
    got = [numbers(await claim(store, limit=1)) for _ in range(6)]
    same(got, [[8], [5], [3], [9], [1], [2]], "the order of claims among equals")


async def an_id_or_a_key_that_is_taken_is_not_copied_in(store: Store) -> None:
    await insert(store, sample(1, key="k"))
    before = await dump(store)
    for taken in (sample(1), sample(2, key="k")):
        with refused(StoreError, "copying in what is there already"):
            await _take(store, [TaskCopy(1, taken, ())])
        await unchanged(store, before, "after a refused copy")


async def _copies(store: Store, *, after: int = 0, limit: int = EVERYTHING) -> list[TaskCopy]:
    return await store.read(lambda session: session.copy_out(after, limit=limit))


async def _take(store: Store, copies: Sequence[TaskCopy]) -> None:
    await store.transact(lambda session: session.copy_in(copies))


async def _furnish(store: Store) -> None:
    """Tasks in every state, with payloads that are easily spoiled, and some history."""
    await insert(store, sample(20, metadata_json=_X, correlation="order", priority=-3, deadline_seconds=0.1))
    ends: tuple[events.Event, ...] = (
        events.Succeeded(_X),
        events.Suspended(_X),
        events.Failed(_X),
        events.Interrupted(),
        events.Stalled(),
        events.CancelRequested("it's enough"),
        events.Committed(_X),
    )
    for n, end in enumerate(ends, 1):
        claimed = await claim_one(store, _plain(n))
        await apply(store, claimed, end, now=NOW + SECOND)
    for n, audit in enumerate(Audit, 11):
        await claim_one(store, _plain(n, audit=audit), "bob")


def _plain(n: int, **changes: Any) -> TaskRecord:
    return sample(n, key=f"k{n}", queue=f"q{n}", due_at=NOW - n * timedelta(microseconds=1), **changes)
