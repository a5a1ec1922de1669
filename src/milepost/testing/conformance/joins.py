"""Whom tasks wait for: kept with their ends, counted, opened again while somebody waits, and handed over."""

from __future__ import annotations

from typing import Any

from milepost.lifecycle import events
from milepost.lifecycle.change import Transition
from milepost.lifecycle.children import Child, ChildCount
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.lifecycle.ties import Join
from milepost.payload import JsonText
from milepost.stores.memory import MemoryStore
from milepost.stores.protocol import Session, Store
from milepost.stores.tables import EndedTask
from milepost.testing.conformance.kit import (
    EVERYTHING,
    NOW,
    apply,
    claim_one,
    delete,
    get,
    insert,
    refused,
    same,
    sample,
    samples,
    task_id,
    write,
)

_X = JsonText('{"x":[1.0,-0.0,1e16,"é"]}')
_SUSPENDED = {"state": TaskState.SUSPENDED, "due_at": None, "join": Join.ALL_FINISHED}


async def children_are_told_in_the_order_in_which_they_were_put(store: Store) -> None:
    await insert(store, _parent(1), *samples(5, 3), sample(4, name="other", version=3))
    await _put(store, 1, 4, 5, 3)
    same(await _children(store, 1), [_child(4, "other", 3), _child(5), _child(3)], "the children")
    same(await _unfinished_of(store, 1), [4, 5, 3], "those without an end")


async def who_waits_for_nobody_has_no_children(store: Store) -> None:
    await insert(store, _parent(1), _parent(2), sample(3))
    await _put(store, 1)
    await _put(store, 2, 3)
    both = [task_id(1), task_id(2)]
    children = await store.read(lambda session: session.joins.children(both))
    same(children, {task_id(2): [_child(3)]}, "the children of two, of whom one waits")
    counts = await store.read(lambda session: session.joins.counts(both))
    same(counts, {task_id(2): ChildCount(unfinished=1)}, "their counts")
    same(await _unfinished(store, 1, 2, 9), [2], "which have an unfinished child")
    same(await _unfinished_of(store, 1), [], "the unfinished children of who waits for nobody")
    same(await store.read(lambda session: session.joins.children([])), {}, "the children of nobody")


async def what_is_final_is_put_with_its_end(store: Store) -> None:
    done, failed, gave_up, overdue = [await _ended(store, n, end) for n, end in enumerate(_ends(), 2)]
    await insert(store, _parent(1), sample(9))
    await _put(store, 1, 2, 9, 3, 4, 5)
    wanted = [_end_of(done), _child(9), _end_of(failed), _end_of(gave_up), _end_of(overdue)]
    same(await _children(store, 1), wanted, "the children")
    same(await _count(store, 1), ChildCount(unfinished=1, completed=1, failed=2, cancelled=1), "their count")


async def what_is_put_takes_the_place_of_what_was_there(store: Store) -> None:
    await insert(store, _parent(1), _parent(2), *samples(3, 4, 5))
    await _put(store, 1, 3, 4)
    await _put(store, 2, 3)
    await _put(store, 1, 5)
    same(await _children(store, 1), [_child(5)], "the children of who was put anew")
    same(await _children(store, 2), [_child(3)], "the children of the other")
    same(await _end_by_cancel(store, 3), [2], "who waits for what only the other waits for")
    await _put(store, 1)
    same(await _children(store, 1), None, "the children of who waits for nobody any more")


async def a_child_that_is_not_there_is_left_out(store: Store) -> None:
    await insert(store, _parent(1), sample(3))
    await _put(store, 1, 2, 3, 4)
    same(await _children(store, 1), [_child(3)], "the children")


async def the_end_of_a_child_is_kept_whole(store: Store) -> None:
    await insert(store, _parent(1))
    for n, end in enumerate(_ends(), 2):
        running = await claim_one(store, sample(n, queue=f"q{n}"))
        await _put(store, 1, n)
        ended = await apply(store, running, end)
        same(await _keep_end(store, ended), [1], "who waits for it")
        same(await _children(store, 1), [_end_of(ended)], "the child with its end")


async def an_end_is_told_to_all_who_wait_for_it(store: Store) -> None:
    await insert(store, *(_parent(n) for n in (9, 1, 7)), *samples(2, 3, 4))
    await _put(store, 9, 2)
    await _put(store, 1, 3, 2)
    await _put(store, 7, 3)
    same(await _end_by_cancel(store, 2, 4), [1, 9], "who waits for one of two that ended")
    same(await _unfinished(store, 1, 7, 9), [1, 7], "who still has an unfinished child")
    same(await _end_by_cancel(store, 3), [1, 7], "who waits for the other")
    same(await _unfinished(store, 1, 7, 9), [], "who still has an unfinished child")


async def an_end_that_is_kept_stays_whatever_becomes_of_the_child(store: Store) -> None:
    await insert(store, _parent(1), sample(3))
    await _put(store, 1, 2, 3)
    failed = await apply(store, await claim_one(store, sample(2, queue="q")), events.Failed(_X))
    await _put(store, 1, 2, 3)
    requeued = await apply(store, failed, events.Requeued())
    cancelled = await apply(store, requeued, events.CancelRequested("enough"))
    same(await _keep_end(store, cancelled), [], "who has no end of it yet")
    await delete(store, 2)
    same(await _children(store, 1), [_end_of(failed), _child(3)], "the children")


async def the_end_of_what_nobody_waits_for_is_not_kept(store: Store) -> None:
    await insert(store, *samples(1, 2))
    same(await _end_by_cancel(store, 1, 2), [], "who waits")
    same(await _keep_end(store), [], "who waits for nothing")


async def unfinished_children_are_told_in_order(store: Store) -> None:
    await insert(store, _parent(1), *samples(2, 3, 4, 5, 6))
    await _put(store, 1, 6, 2, 5, 3, 4)
    await _end_by_cancel(store, 6, 5)
    same(await _unfinished_of(store, 1), [2, 3, 4], "those without an end")
    same(await _count(store, 1), ChildCount(unfinished=3, cancelled=2), "their count")


async def a_child_is_opened_again_for_who_still_waits(store: Store) -> None:
    await insert(store, _parent(1), _parent(2), *samples(3, 4))
    await _put(store, 1, 3, 4)
    await _put(store, 2, 3, 4)
    await _end_by_cancel(store, 3, 4)
    second = await get(store, task_id(2))
    await _change(store, second, state=TaskState.PENDING, due_at=NOW)
    kept = await _children(store, 2)
    await store.transact(lambda session: session.joins.reopen([task_id(3), task_id(9)]))
    same((await _unfinished_of(store, 1), await _unfinished(store, 1, 2)), ([3], [1]), "what is open, and for whom")
    same((await _children(store, 1) or [])[0], _child(3), "the child that is open again")
    same(await _children(store, 2), kept, "the children of who goes on already")
    same(await _end_by_cancel(store, 3, expect_live=False), [1], "who has no end of it yet")


async def who_waits_for_something_else_keeps_the_ends(store: Store) -> None:
    await insert(store, _parent(1, join=None), sample(3))
    await _put(store, 1, 3)
    await _end_by_cancel(store, 3)
    await store.transact(lambda session: session.joins.reopen([task_id(3)]))
    same(await _unfinished(store, 1), [], "who has an unfinished child")


async def an_heir_waits_for_the_same_children(store: Store) -> None:
    await insert(store, _parent(1), *samples(2, 3), _parent(8), _parent(9))
    await _put(store, 1, 3, 2)
    await _end_by_cancel(store, 3)
    same(await _hand_over(store, 1, 8), True, "whether an unfinished one is handed over")
    same(await _children(store, 8), await _children(store, 1), "the children of the heir")
    same(await _end_by_cancel(store, 2), [1, 8], "who waits for the other child")
    same(await _unfinished(store, 1, 8), [], "who still has an unfinished child")
    same(await _hand_over(store, 1, 9), False, "whether an unfinished one is handed over when all have ended")
    same(await _count(store, 9), ChildCount(cancelled=2), "the count of the second heir")
    same(await _hand_over(store, 7, 2), False, "whether one is handed over by who has none")


async def descendants_are_told_nearest_first(store: Store) -> None:
    family = {1: (), 9: (1,), 4: (1,), 2: (9,), 8: (4,), 3: (9,), 5: (3,), 6: (), 7: (6,)}
    await insert(store, *(sample(n, parent=task_id(*above) if above else None) for n, above in family.items()))
    same(await _descendants(store, 1), [4, 9, 2, 3, 8, 5], "those below a root")
    same(await _descendants(store, 6, 9), [2, 3, 7, 5], "those below two")
    same(await _descendants(store, 1, 4), [8, 9, 2, 3, 5], "those below a root and one of its children")
    same(await _descendants(store, 5, 99), [], "those below who has none")
    same(await _descendants(store), [], "those below nobody")


async def descendants_of_a_long_line_are_all_told(store: Store) -> None:
    await insert(store, *(sample(n, parent=task_id(n - 1)) for n in range(1, 301)))
    same(await _descendants(store, 1), [*range(2, 301)], "a line of three hundred")


async def who_descends_from_itself_is_told_once(store: Store) -> None:
    await insert(store, *(sample(n, parent=task_id(above)) for n, above in ((1, 3), (2, 1), (3, 2))))
    same(await _descendants(store, 1), [2, 3], "those below a root that is below itself")


async def a_deleted_parent_takes_its_children_along_and_a_deleted_child_does_not(store: Store) -> None:
    ended = await _ended(store, 2, events.Succeeded(_X))
    await insert(store, _parent(1), _parent(3), sample(4))
    await _put(store, 1, 2, 4)
    await _put(store, 3, 2)
    same(await delete(store, 2, 1), 2, "how many are deleted")
    same(await _children(store, 1), None, "the children of the deleted parent")
    same(await _children(store, 3), [_end_of(ended)], "the children of the other")
    same(await _end_by_cancel(store, 4), [], "who waits for the deleted parent's child")


async def a_pruned_parent_takes_its_children_along(store: Store) -> None:
    parent = await _ended(store, 1, events.Succeeded(_X))
    await _ended(store, 2, events.Succeeded(_X))
    await insert(store, _parent(3))
    await _put(store, 1, 2)
    await _put(store, 3, 2)
    ended = EndedTask(parent.id, parent.state, parent.finished_at or NOW, parent.revision)
    same(await store.transact(lambda session: session.ends.remove([ended])), [parent.id], "what is removed")
    same((await _children(store, 1), await _count(store, 3)), (None, ChildCount(completed=1)), "what is left")


async def a_wait_that_was_rolled_back_never_was(store: Store) -> None:
    class _Undone(Exception):
        pass

    def wait(session: Session) -> None:
        session.joins.put(task_id(1), [task_id(4)])
        session.joins.put(task_id(2), [task_id(4)])
        session.joins.end(session.get([task_id(3)]))
        session.joins.reopen([task_id(5)])
        raise _Undone

    ended = await _ended(store, 3, events.Succeeded(_X)), await _ended(store, 5, events.Succeeded(_X))
    await insert(store, _parent(1), _parent(2), sample(4))
    await _put(store, 1, 5)
    with refused(_Undone, "the check's own exception"):
        await store.transact(wait)
    same(await _children(store, 1), [_end_of(ended[1])], "the children of who waited before")
    same(await _children(store, 2), None, "the children of who did not")
    same(await _unfinished(store, 1, 2), [], "who has an unfinished child")
    await _put(store, 2, 4)
    same(await _end_by_cancel(store, 4), [2], "who waits for the child")


async def children_are_copied_with_their_parent(store: Store) -> None:
    source = MemoryStore()
    await _ended(source, 2, events.Succeeded(_X))
    await _ended(source, 3, events.Stalled())
    await insert(source, _parent(1), _parent(7), sample(4))
    await _put(source, 1, 4, 2, 3)
    await _put(source, 7, 3)
    wanted = await _children(source, 1)
    copies = await source.read(lambda session: session.copy_out(0, limit=EVERYTHING))
    await delete(source, 2)
    await store.transact(lambda session: session.copy_in(copies))
    same(await _children(store, 1), wanted, "the children that were copied")
    taken = await store.read(lambda session: session.copy_out(0, limit=EVERYTHING))
    same([copy.children for copy in taken], [copy.children for copy in copies], "what is copied on")
    same(await _end_by_cancel(store, 4), [1], "who waits for what has not ended")


def _parent(n: int, **changes: Any) -> TaskRecord:
    return sample(n, **{**_SUSPENDED, "name": "parent", **changes})


def _child(n: int, name: str = "send", version: int = 1) -> Child:
    return Child(task_id(n), name, version)


def _end_of(record: TaskRecord) -> Child:
    name, version = record.name, record.version
    return Child(record.id, name, version, record.state, record.result_json, record.error_json, record.crash)


def _ends() -> tuple[events.Event, ...]:
    """A way to each final state, by an answer of its own or by a crash."""
    return (
        events.Succeeded(_X),
        events.Failed(_X),
        events.GaveUp(_X),
        events.DeadlineMissed(),
    )


async def _ended(store: Store, n: int, end: events.Event) -> TaskRecord:
    return await apply(store, await claim_one(store, sample(n, queue=f"q{n}")), end)


async def _put(store: Store, parent: int, *children: int) -> None:
    await store.transact(lambda session: session.joins.put(task_id(parent), [task_id(n) for n in children]))


async def _keep_end(store: Store, *ended: TaskRecord) -> list[int]:
    return _numbered(await store.transact(lambda session: session.joins.end(ended)))


async def _end_by_cancel(store: Store, *children: int, expect_live: bool = True) -> list[int]:
    records = [await get(store, task_id(n)) for n in children]
    if expect_live:
        records = [await apply(store, record, events.CancelRequested("enough")) for record in records]
    return await _keep_end(store, *records)


async def _hand_over(store: Store, parent: int, heir: int) -> bool:
    return await store.transact(lambda session: session.joins.hand_over(task_id(parent), task_id(heir)))


async def _children(store: Store, parent: int) -> list[Child] | None:
    found = await store.read(lambda session: session.joins.children([task_id(parent)]))
    return found.get(task_id(parent))


async def _count(store: Store, parent: int) -> ChildCount | None:
    found = await store.read(lambda session: session.joins.counts([task_id(parent)]))
    return found.get(task_id(parent))


async def _unfinished(store: Store, *parents: int) -> list[int]:
    found = await store.read(lambda session: session.joins.unfinished([task_id(n) for n in parents]))
    return _numbered(sorted(found))


async def _unfinished_of(store: Store, parent: int) -> list[int]:
    return _numbered(await store.read(lambda session: session.joins.unfinished_of(task_id(parent))))


async def _descendants(store: Store, *roots: int) -> list[int]:
    return _numbered(await store.read(lambda session: session.joins.descendants([task_id(n) for n in roots])))


async def _change(store: Store, record: TaskRecord, **changes: Any) -> None:
    change = Transition(record, record.changed({**changes, "revision": record.revision + 1}), ())
    same(await write(store, change), [True], "what the check itself writes")


def _numbered(ids: list[TaskId]) -> list[int]:
    return [int(id[-12:], 16) for id in ids]
