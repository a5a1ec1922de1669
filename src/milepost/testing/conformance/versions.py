"""A row has one version for all of it: what newer code writes moves the whole row to the version of its writer."""

from __future__ import annotations

from datetime import timedelta

from milepost.lifecycle import events
from milepost.lifecycle.events import Moved
from milepost.payload import JsonText
from milepost.stores.protocol import Store
from milepost.testing.conformance.kit import NOW, SECOND, apply, claim, claim_one, decided, get, same, sample, write

_X = JsonText('{"page":2}')
_MOVED = Moved(3, JsonText('{"n":"upgraded"}'), JsonText('{"page":0}'))


async def a_commit_of_newer_code_moves_the_whole_row(store: Store) -> None:
    claimed = await claim_one(store, sample(1))
    other = await claim_one(store, sample(2))
    after = await apply(store, claimed, events.Committed(_X, _MOVED))
    same((after.version, after.metadata_json), (3, _MOVED.metadata), "version and metadata after the commit")
    same(await get(store, after.id), after, "the committed task")
    same(await get(store, other.id), other, "a task beside it")
    again = await apply(store, after, events.Committed(JsonText('{"page":3}'), _MOVED))
    same(await get(store, after.id), again, "the task after a second commit")


async def a_moved_row_is_left_to_those_who_know_its_version(store: Store) -> None:
    committed = await apply(store, await claim_one(store, sample(1)), events.Committed(_X, _MOVED))
    await apply(store, committed, events.Interrupted())
    same(await claim(store, names={"send": 2}), [], "what an older executor claims")
    claimed = await claim(store, names={"send": 3})
    same([(each.version, each.execution_metadata_json) for each in claimed], [(3, _X)], "what a newer one claims")


async def a_suspension_and_a_proceed_by_newer_code_move_the_row(store: Store) -> None:
    suspended = await apply(store, await claim_one(store, sample(1)), events.Suspended(None))
    same(suspended.version, 1, "the version after a suspension that stores nothing")
    proceeded = await apply(store, suspended, events.Proceeded(_X, moved=_MOVED))
    same(await get(store, suspended.id), proceeded, "the task that was proceeded")
    (claimed,) = await claim(store, names={"send": 3})
    moved = Moved(4, _MOVED.metadata, _MOVED.initial_execution_metadata)
    waits = await apply(store, claimed, events.Suspended(_X, timedelta(seconds=1), moved=moved))
    same((waits.version, await get(store, waits.id)), (4, waits), "the task that was suspended")
    same(await claim(store, names={"send": 3}, now=NOW + SECOND), [], "what an older executor claims when it wakes")


async def a_requeue_from_the_start_of_a_moved_row_has_what_it_was_moved_to(store: Store) -> None:
    committed = await apply(store, await claim_one(store, sample(1)), events.Committed(_X, _MOVED))
    ended = await apply(store, committed, events.Failed(_X))
    await apply(store, ended, events.Requeued(from_start=True), now=NOW + SECOND)
    (claimed,) = await claim(store, names={"send": 3}, now=NOW + SECOND)
    same(claimed.execution_metadata_json, _MOVED.initial_execution_metadata, "what it starts from")


async def a_move_that_comes_too_late_changes_nothing(store: Store) -> None:
    claimed = await claim_one(store, sample(1))
    requested = await apply(store, claimed, events.CancelRequested("enough"))
    same(await write(store, decided(claimed, events.Committed(_X, _MOVED))), [False], "a commit on a row that changed")
    same(await get(store, claimed.id), requested, "the task")
