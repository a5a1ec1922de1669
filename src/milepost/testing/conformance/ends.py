"""What has ended: found in small steps, and removed only where it still is that end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from milepost.lifecycle import events
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.payload import JsonText
from milepost.stores.protocol import Hint, Store
from milepost.stores.tables import EndedPage, EndedTask
from milepost.testing.conformance.kit import (
    HOUR,
    NOW,
    SECOND,
    apply,
    claim_one,
    dump,
    get,
    history,
    holds,
    insert,
    numbers,
    same,
    sample,
    samples,
    task_id,
)

_X = JsonText("1")
_ENDS: tuple[tuple[events.Event, TaskState], ...] = (
    (events.Succeeded(_X), TaskState.COMPLETED),
    (events.Failed(_X), TaskState.FAILED),
    (events.GaveUp(_X), TaskState.CANCELLED),
)
_LONG_AFTER = {state: NOW + HOUR for _, state in _ENDS}


async def a_walk_finds_what_ended_long_enough_ago_and_nothing_else(store: Store) -> None:
    for n, (end, _) in enumerate(_ENDS):
        for m, moment in enumerate((NOW, NOW + SECOND)):
            await _ended(store, 10 * n + m, end, moment)
    live: tuple[events.Event, ...] = (
        events.Suspended(_X),
        events.Interrupted(),
        events.Stalled(),
        events.Committed(_X),
    )
    for n, event in enumerate(live):
        await apply(store, await claim_one(store, _sample(100 + n)), event)
    await insert(store, sample(200))
    for n, (_, state) in enumerate(_ENDS):
        same(_found(await _walk(store, {state: NOW + SECOND})), [10 * n], f"what was {state.value} before")
    everything = await _walk(store, _LONG_AFTER)
    same(_found(everything), [0, 1, 10, 11, 20, 21], "all that has ended")
    same(everything.cursor, None, "where a walk to the end goes on")
    same((await _walk(store, {})).tasks, (), "what a walk for nothing finds")
    for found in everything.tasks:
        record = await get(store, found.id)
        same(found, _as_found(record), "a task that a walk has found")


async def a_walk_goes_on_where_it_left_off(store: Store) -> None:
    for n in range(6):
        await _ended(store, n, events.Succeeded(_X))
    await insert(store, *samples(6, 7, 8))
    first = await _walk(store, _LONG_AFTER, limit=2)
    same((_found(first), first.cursor), ([0, 1], task_id(1)), "as many as are wanted")
    second = await _walk(store, _LONG_AFTER, after=first.cursor, walked_max=3)
    same((_found(second), second.cursor), ([2, 3, 4], task_id(4)), "as many as are walked")
    rest = await _walk(store, _LONG_AFTER, after=second.cursor)
    same((_found(rest), rest.cursor), ([5], None), "the rest")


async def a_walk_is_over_where_tasks_are_too_young(store: Store) -> None:
    await insert(store, *samples(1, 2, created_at=NOW - 2 * HOUR))
    await insert(store, *samples(3, 4, 5, created_at=NOW))
    page = await _walk(store, {TaskState.COMPLETED: NOW - HOUR}, walked_max=3)
    same((page.tasks, page.cursor), ((), None), "a walk that meets what came after all of its times")


async def what_ended_is_removed_with_its_history(store: Store) -> None:
    for n in range(3):
        await _ended(store, n, events.Succeeded(_X))
    page = await _walk(store, _LONG_AFTER)
    watch = store.watch(Hint.FINAL)
    same(await _remove(store, *page.tasks[:2]), [task_id(0), task_id(1)], "what is removed")
    holds(await watch.wait(5), "nobody hears that a task is gone")
    watch.close()
    same(numbers((await dump(store)).records), [2], "what is left")
    same(await history(store, task_id(0)), [], "the history of what was removed")
    same(await _remove(store, *page.tasks), [task_id(2)], "what is removed the second time")
    same(await _remove(store), [], "what is removed of nothing")


async def what_was_requeued_meanwhile_is_not_removed(store: Store) -> None:
    ended = [await _ended(store, n, events.Failed(_X)) for n in range(2)]
    page = await _walk(store, _LONG_AFTER)
    await apply(store, ended[0], events.Requeued())
    same(await _remove(store, *page.tasks), [task_id(1)], "what is removed")
    again = await get(store, task_id(0))
    same(again.state, TaskState.PENDING, "the state of what was requeued")
    await apply(store, again, events.CancelRequested("enough"))
    same(await _remove(store, *page.tasks), [], "what has ended anew is not the end that was found")


async def one_at_a_time_may_be_the_only_one(store: Store) -> None:
    for _ in range(2):
        holds(await store.transact(lambda session: session.ends.is_only_one()), "nobody else is there, and yet not one")


def _sample(n: int) -> TaskRecord:
    return sample(n, queue=f"q{n}")


async def _ended(store: Store, n: int, end: events.Event, now: datetime = NOW) -> TaskRecord:
    return await apply(store, await claim_one(store, _sample(n)), end, now=now)


async def _walk(
    store: Store,
    ended_before: Mapping[TaskState, datetime],
    *,
    after: TaskId | None = None,
    walked_max: int = 100,
    limit: int = 100,
) -> EndedPage:
    return await store.read(
        lambda session: session.ends.walk(ended_before, after=after, walked_max=walked_max, limit=limit)
    )


async def _remove(store: Store, *tasks: EndedTask) -> list[TaskId]:
    return await store.transact(lambda session: session.ends.remove(tasks))


def _as_found(record: TaskRecord) -> EndedTask:
    return EndedTask(record.id, record.state, record.finished_at or NOW, record.revision)


def _found(page: EndedPage) -> list[int]:
    return [int(task.id[-12:], 16) for task in page.tasks]
