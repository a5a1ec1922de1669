"""Reading back: `get`, the order of a search, its pages, and counting."""

from __future__ import annotations

from collections.abc import AsyncIterator

import attrs

from milepost.lifecycle import events
from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.stores.filter import TaskFilter, TaskOrder
from milepost.stores.protocol import Store
from milepost.testing.conformance.kit import (
    apply,
    count,
    delete,
    get,
    insert,
    numbers,
    same,
    sample,
    samples,
    search,
    task_id,
)


async def get_answers_in_the_order_asked_for(store: Store) -> None:
    await insert(store, *samples(1, 2, 3))
    found = await store.read(lambda session: session.get([task_id(n) for n in (3, 9, 1, 2)]))
    same(numbers(found), [3, 1, 2], "get of four ids, one unknown")
    same(await store.read(lambda session: session.get([])), [], "get of no ids")


async def get_answers_for_thousands(store: Store) -> None:
    await insert(store, *samples(*range(3_000)))
    wanted = list(range(2_999, -1, -1))
    found = await store.read(lambda session: session.get([task_id(n) for n in wanted]))
    same(numbers(found), wanted, "get of three thousand ids")


async def a_search_is_ordered_by_age(store: Store) -> None:
    await insert(store, *samples(2, 9))
    await insert(store, sample(1, priority=5), sample(7, name="other"))
    same(numbers(await search(store, TaskFilter())), [1, 2, 7, 9], "oldest first")
    newest = TaskFilter(order=TaskOrder.NEWEST_FIRST)
    same(numbers(await search(store, newest)), [9, 7, 2, 1], "newest first")


async def a_search_keeps_its_limit(store: Store) -> None:
    await insert(store, *samples(*range(5)))
    same(numbers(await search(store, TaskFilter(), limit=2)), [0, 1], "two, oldest first")
    same(numbers(await search(store, TaskFilter(order=TaskOrder.NEWEST_FIRST), limit=2)), [4, 3], "two, newest first")
    same(numbers(await search(store, TaskFilter(), limit=0)), [], "none")


async def a_cursor_goes_on_after_the_last_page(store: Store) -> None:
    await insert(store, *samples(*range(5)))
    same(numbers(await search(store, TaskFilter(cursor=task_id(2)))), [3, 4], "oldest first, after 2")
    newest = TaskFilter(cursor=task_id(2), order=TaskOrder.NEWEST_FIRST)
    same(numbers(await search(store, newest)), [1, 0], "newest first, after 2")
    same(numbers(await search(store, TaskFilter(cursor=task_id(4)))), [], "after the last")


async def a_cursor_of_a_deleted_task_still_works(store: Store) -> None:
    await insert(store, *samples(*range(5)))
    await delete(store, 2)
    same(numbers(await search(store, TaskFilter(cursor=task_id(2)))), [3, 4], "oldest first, after a deleted one")


async def pages_have_no_gap_and_no_repeat_while_tasks_arrive(store: Store) -> None:
    await insert(store, *samples(*range(20)))
    seen = await _page_while_tasks_arrive(store, TaskOrder.OLDEST_FIRST)
    same(seen, list(range(len(seen))), "all pages, oldest first")
    same(seen[:20], list(range(20)), "all pages, oldest first, of what was there from the start")


async def pages_from_the_newest_do_not_shift_while_tasks_arrive(store: Store) -> None:
    await insert(store, *samples(*range(20)))
    seen = await _page_while_tasks_arrive(store, TaskOrder.NEWEST_FIRST)
    same(seen, list(range(19, -1, -1)), "all pages, newest first")


async def pages_respect_the_other_conditions(store: Store) -> None:
    for n in range(12):
        await insert(store, sample(n, name="even" if n % 2 == 0 else "odd"))
    seen = [numbers(page) async for page in _pages(store, TaskFilter(names=("even",)), size=2)]
    same(seen, [[0, 2], [4, 6], [8, 10]], "pages of two of every second task")


async def count_ignores_the_cursor_and_the_order(store: Store) -> None:
    await insert(store, *samples(*range(5)), sample(9, name="other"))
    for order in TaskOrder:
        wanted = TaskFilter(names=("send",), cursor=task_id(3), order=order)
        same(await count(store, wanted), 5, f"count, {order.value}")
    same(await count(store, TaskFilter()), 6, "count of everything")


async def ids_are_told_of_all_that_match(store: Store) -> None:
    await insert(store, *samples(5, 3, 9, 1), sample(2, name="other"))
    for order in TaskOrder:
        for wanted in (TaskFilter(order=order), TaskFilter(names=("send",), cursor=task_id(3), order=order)):
            found = await store.read(lambda session: session.ids(wanted))  # noqa: B023 (run at once)
            same(found, [record.id for record in await search(store, wanted)], f"the ids of a search, {order.value}")
    same(await store.read(lambda session: session.ids(TaskFilter(names=("none",)))), [], "the ids of no task")


async def a_search_sees_the_present_state(store: Store) -> None:
    await insert(store, *samples(1, 2))
    cancelled = await apply(store, sample(1), events.CancelRequested("enough"))
    same(await search(store, TaskFilter(states=(TaskState.CANCELLED,))), [cancelled], "what was just cancelled")
    same(await search(store, TaskFilter(states=(TaskState.PENDING,))), [await get(store, task_id(2))], "what was not")


async def _page_while_tasks_arrive(store: Store, order: TaskOrder) -> list[int]:
    seen: list[int] = []
    pages = 0
    async for page in _pages(store, TaskFilter(order=order, names=("send",)), size=3):
        seen.extend(numbers(page))
        pages += 1
        if pages <= 6:
            await insert(store, sample(19 + pages), sample(500 + pages, name="other"))
    return seen


# Each page is read in one go and nothing is held open between two, so a loop that leaves early leaves nothing behind.
async def _pages(  # noqa: ASYNC900
    store: Store, wanted: TaskFilter, *, size: int
) -> AsyncIterator[list[TaskRecord]]:
    while page := await search(store, wanted, limit=size):
        yield page
        wanted = attrs.evolve(wanted, cursor=page[-1].id)
