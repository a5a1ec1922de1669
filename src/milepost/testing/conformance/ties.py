"""How tasks are tied to others: kept whole, changed only where a transition says so, and found by."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from milepost.errors import StoreError
from milepost.lifecycle import events
from milepost.lifecycle.change import Transition
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.lifecycle.ties import Join, Tie
from milepost.payload import JsonText
from milepost.stores.filter import TaskFilter
from milepost.stores.memory import MemoryStore
from milepost.stores.protocol import Store
from milepost.testing.conformance.kit import (
    NOW,
    SECOND,
    apply,
    claim,
    claim_one,
    count,
    decided,
    delete,
    dump,
    get,
    insert,
    numbers,
    refused,
    same,
    sample,
    samples,
    search,
    task_id,
    unchanged,
    write,
)

_X = JsonText("1")
_ROOT = task_id(100)


async def a_tied_task_comes_back_as_it_was(store: Store) -> None:
    tied = [sample(n, **ties) for n, ties in enumerate(_every_tie())]
    await insert(store, *tied)
    for record in tied:
        same(await get(store, record.id), record, "a task with ties")
    same((await dump(store)).records, tied, "all of them")


async def tied_tasks_arrive_in_order_among_others(store: Store) -> None:
    mixed = [sample(n, **(_place(n) if n % 3 else {})) for n in (5, 3, 9, 1, 7, 8, 2, 6, 4, 12, 11, 10)]
    await insert(store, *mixed)
    same(numbers(await claim(store)), numbers(mixed), "the order of claims among equals")
    for record in mixed:
        same((await get(store, record.id)).parent_position, record.parent_position, "the place of a task")


async def ties_are_inserted_where_no_queue_is_bounded(store: Store) -> None:
    tied = [sample(1, **_place(1)), sample(2), sample(3, ties=Tie.HOOKED)]
    same(await store.transact(lambda session: session.insert_unbounded(tied)), True, "the answer")
    same((await dump(store)).records, tied, "what is there")


async def what_is_not_tied_has_no_ties(store: Store) -> None:
    await insert(store, sample(1))
    found = await get(store, task_id(1))
    same(found, sample(1), "a task without ties")
    same(found.ties, Tie.NONE, "its ties")


async def a_write_changes_ties_where_its_transition_does(store: Store) -> None:
    await insert(store, *samples(1, 2, 3))
    changes = [_tied(sample(n), **ties) for n, ties in enumerate(_later_ties(), 1)]
    same(await write(store, *changes), [True] * 3, "the answers")
    for change in changes:
        same(await get(store, change.after.id), change.after, "a task whose ties were written")
    back = [_tied(change.after, ties=Tie.NONE, join=None, awaited_event=None, awaited_key=None) for change in changes]
    same(await write(store, *back), [True] * 3, "the answers when ties go")
    for change in back:
        same(await get(store, change.after.id), change.after, "a task whose ties are gone")


async def several_writes_of_the_ties_of_one_task_follow_each_other(store: Store) -> None:
    await insert(store, sample(1), sample(2))
    first = _tied(sample(1), ties=Tie.AWAITED)
    second = _tied(first.after, ties=Tie.AWAITED | Tie.HOOKED, join=Join.ALL_FINISHED)
    third = decided(second.after, events.CancelRequested("enough"))
    other = _tied(sample(2), ties=Tie.HOOKED)
    same(await write(store, first, other, second, third), [True] * 4, "the answers")
    same(await get(store, task_id(1)), third.after, "the task that was written thrice")
    same(await get(store, task_id(2)), other.after, "the task beside it")


async def a_refused_write_changes_no_ties(store: Store) -> None:
    await insert(store, sample(1))
    stale = _tied(sample(1), ties=Tie.AWAITED)
    same(await write(store, stale), [True], "the first answer")
    again = _tied(sample(1), ties=Tie.HOOKED, join=Join.ALL_SUCCEEDED)
    same(await write(store, again), [False], "the answer to a write of what was before")
    same(await get(store, task_id(1)), stale.after, "the task")


async def ties_stay_through_all_that_does_not_change_them(store: Store) -> None:
    tied = sample(1, **_place(1), schedule="s", schedule_at=NOW, ties=Tie.HOOKED, awaited_event="e", awaited_key="k")
    claimed = await claim_one(store, tied)
    committed = await apply(store, claimed, events.Committed(_X))
    ended = await apply(store, committed, events.Succeeded(_X))
    same(await get(store, tied.id), ended, "the ended task")
    same((ended.parent, ended.schedule_at, ended.ties), (_ROOT, NOW, Tie.HOOKED), "its ties")


async def two_tasks_cannot_have_one_place_with_a_parent(store: Store) -> None:
    await insert(store, sample(1, **_place(1)))
    before = await dump(store)
    with refused(StoreError, "inserting into a place that is taken"):
        await insert(store, sample(2), sample(3, **_place(1)))
    await unchanged(store, before, "after a refused insert")
    await insert(store, sample(3, **_place(2)), sample(4, parent=task_id(101), parent_position="1.1.1"))
    await delete(store, 1)
    await insert(store, sample(5, **_place(1)))


async def a_schedule_has_one_task_for_each_instant(store: Store) -> None:
    await insert(store, sample(1, schedule="s", schedule_at=NOW))
    before = await dump(store)
    with refused(StoreError, "inserting for an instant that has its task"):
        await insert(store, sample(2), sample(3, schedule="s", schedule_at=NOW))
    await unchanged(store, before, "after a refused insert")
    others: tuple[dict[str, Any], ...] = (
        {"schedule": "s", "schedule_at": NOW + timedelta(microseconds=1)},
        {"schedule": "t", "schedule_at": NOW},
        {"schedule": "s"},
        {"schedule": "s"},
    )
    await insert(store, *(sample(n, **each) for n, each in enumerate(others, 10)))
    same(await count(store, TaskFilter(schedules=("s",))), 4, "the tasks of a schedule, two of them triggered")


async def a_search_finds_what_a_task_has_enqueued(store: Store) -> None:
    await insert(store, sample(1), *(sample(n, **_place(n)) for n in (4, 2, 3)), sample(5, parent=task_id(2)))
    await _finds(store, TaskFilter(parents=(_ROOT,)), [2, 3, 4])
    await _finds(store, TaskFilter(parents=(_ROOT, task_id(2), task_id(7))), [2, 3, 4, 5])
    await _finds(store, TaskFilter(parents=(_ROOT,), cursor=task_id(2)), [3, 4])
    await _finds(store, TaskFilter(parents=(_ROOT,), states=(TaskState.COMPLETED,)), [])
    await _finds(store, TaskFilter(parents=()), [])
    await _finds(store, TaskFilter(parents=(TaskId("\0"),)), [])


async def a_search_finds_what_a_schedule_has_enqueued(store: Store) -> None:
    scheduled = [sample(n, schedule="s", schedule_at=NOW + n * SECOND) for n in (4, 2, 3)]
    await insert(store, sample(1), *scheduled, sample(5, schedule="é"))
    await _finds(store, TaskFilter(schedules=("s",)), [2, 3, 4])
    await _finds(store, TaskFilter(schedules=("s", "é", "x")), [2, 3, 4, 5])
    await _finds(store, TaskFilter(schedules=("s",), cursor=task_id(2)), [3, 4])
    await _finds(store, TaskFilter(schedules=("S",)), [])


async def an_awaited_task_is_deleted_only_once_it_is_final(store: Store) -> None:
    running = await claim_one(store, sample(1, ties=Tie.AWAITED))
    await insert(store, sample(2, ties=Tie.AWAITED, name="other"), sample(3, ties=Tie.HOOKED, name="other"))
    await apply(store, running, events.Failed(_X))
    same(await delete(store, 1, 2, 3), 2, "of an ended one, one that waits, and one that nobody waits for")
    same(numbers((await dump(store)).records), [2], "what is left")


async def a_quarantined_task_that_is_awaited_stays(store: Store) -> None:
    await apply(store, await claim_one(store, sample(1, ties=Tie.AWAITED | Tie.HOOKED)), events.Stalled())
    same(await delete(store, 1), 0, "how many are deleted")


async def ties_are_copied_with_their_task(store: Store) -> None:
    source = MemoryStore()
    await insert(source, *(sample(n, **ties) for n, ties in enumerate(_every_tie())))
    before = await dump(source)
    copies = await source.read(lambda session: session.copy_out(0, limit=100))
    await store.transact(lambda session: session.copy_in(copies))
    same(await dump(store), before, "the store that was copied into")


async def _finds(store: Store, wanted: TaskFilter, expected: list[int]) -> None:
    same(numbers(await search(store, wanted)), expected, f"what a search for {wanted} finds")
    ids = await store.read(lambda session: session.ids(wanted))
    same(ids, [task_id(n) for n in expected], f"the ids that {wanted} finds")
    if wanted.cursor is None:
        same(await count(store, wanted), len(expected), f"how many {wanted} finds")


def _place(n: int) -> dict[str, Any]:
    return {"parent": _ROOT, "parent_position": f"1.1.{n}"}


def _tied(record: TaskRecord, **changes: Any) -> Transition:
    """A transition of nothing but ties."""
    return Transition(record, record.changed({**changes, "revision": record.revision + 1}), ())


def _later_ties() -> tuple[dict[str, Any], ...]:
    """What a transition may make of the ties of a new task."""
    return (
        {"ties": Tie.AWAITED},
        {"state": TaskState.SUSPENDED, "due_at": None, "join": Join.ALL_SUCCEEDED_FAIL_FAST, "ties": Tie.HOOKED},
        {"awaited_event": "paid", "awaited_key": "", "received_json": JsonText('{"x":[1.0,-0.0,1e16]}')},
    )


def _every_tie() -> list[dict[str, Any]]:
    """What each field may be: each bit and each mode alone, and everything at once."""
    singles: list[dict[str, Any]] = [
        _place(1),
        {"parent": task_id(99)},
        {"schedule": "é'; --", "schedule_at": NOW.replace(microsecond=123_457)},
        {"schedule": ""},
        {"awaited_event": "paid", "awaited_key": "order 7"},
        {"awaited_event": "", "awaited_key": ""},
        {"received_json": JsonText('{"x":[1.0,-0.0,1e16,12345678901234567890]}')},
        {"received_json": JsonText("null")},
    ]
    ties = [{"ties": tie} for tie in (Tie.AWAITED, Tie.HOOKED, Tie.TREE_CANCELLED, ~Tie.NONE)]
    joins = [{"join": join, "state": TaskState.SUSPENDED, "due_at": None} for join in Join]
    whole = {**_place(2), **singles[2], **singles[4], **singles[6], **ties[-1], **joins[0], "schedule_at": NOW}
    return [{}, *singles, *ties, *joins, whole]
