"""A saga of five steps, one of them a fan-out of a hundred, whose process dies between any two commits of its life, and
before the first and after the last: another process takes it to the same end, by the same tasks.

What a process has not committed is lost with it, so to die before one commit is to die after the one before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar, Unpack, final

import pytest
import trio

from milepost import (
    Client,
    Failure,
    Outcome,
    SagaFailed,
    Store,
    StoreUnreachable,
    TaskHandle,
    TaskQuery,
    TaskState,
    open_executor,
)
from milepost.stores.protocol import Session, TransactOptions
from tests.executor.kit import PATIENCE_SECONDS, PassingStore, quick, until_async
from tests.flows.kit import Told, told
from tests.flows.trips import NoMoney, Trip, book_trip

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

T = TypeVar("T")

TRIP = Trip(nights=tuple(range(100, 200)), budget=1)
"""A hundred nights, and no money for them: every step is taken and every step is undone."""
CONFIG = quick(concurrency=100, lease_seconds=30, poll_seconds=0.02, cleanup_seconds=0.01)


@final
class MortalStore(PassingStore):
    """A store as seen by a process that dies before its commit number `last`: from then on it never answers."""

    def __init__(self, inner: Store, last: int) -> None:
        super().__init__(inner)
        self.last = last
        self.commits = 0
        self.died = trio.Event()

    def transact_blocking(self, function: Callable[[Session], T], **options: Unpack[TransactOptions]) -> T:
        if self.died.is_set():
            raise StoreUnreachable("the process is dead")
        return self.inner.transact_blocking(function, **options)

    async def transact(self, function: Callable[[Session], T], **options: Unpack[TransactOptions]) -> T:
        self.commits += 1
        if self.commits == self.last:
            self.died.set()
        if self.died.is_set():
            await trio.sleep_forever()
        return await self.inner.transact(function, **options)


async def lived(store: Store, graveyard: trio.Nursery, life: str, last: int) -> tuple[bool, object, Counter[Told]]:
    """Whether its process died, the outcome of a saga, and what became of everything."""
    handle = await Client(store).enqueue(book_trip.with_metadata(TRIP).with_correlation(life))
    mortal = MortalStore(store, last)
    async with trio.open_nursery() as nursery:
        # To leave an executor whose store does not answer takes seconds, in which nobody has to wait for it.
        graveyard.start_soon(_run_until_dead, mortal)
        nursery.start_soon(_cancel_after, mortal.died.wait, nursery.cancel_scope)
        nursery.start_soon(_cancel_after, partial(_until_all_ended, store, handle, life), nursery.cancel_scope)
    died = mortal.died.is_set()
    mortal.died.set()
    await store.transact(_end_leases)
    async with open_executor(store, [book_trip], config=CONFIG):
        await _until_all_ended(store, handle, life)
    return died, _told(await handle.wait(1)), await told(store, life)


def _end_leases(session: Session) -> None:
    """What time does: nobody has the tasks of a dead process any more."""
    for lease in session.leases():
        session.close_lease(lease.executor)


async def _run_until_dead(store: MortalStore) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_after, store.died.wait, nursery.cancel_scope)
        async with open_executor(store, [book_trip], config=CONFIG):
            await trio.sleep_forever()


async def _cancel_after(wait: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
    await wait()
    scope.cancel()


async def _until_all_ended(store: Store, handle: TaskHandle[Any, Any], life: str) -> None:
    await handle.wait(PATIENCE_SECONDS)
    unfinished = TaskQuery().with_correlation(life).with_state(*(state for state in TaskState if not state.is_final))

    async def nothing_left() -> bool:
        return await Client(store).count(unfinished) == 0

    await until_async(nothing_left, "every task to end")


def _told(outcome: Outcome[Any, Any]) -> object:
    """An outcome without ids."""
    assert isinstance(outcome, Failure)
    failed: SagaFailed = outcome.error
    return failed.step, failed.error, [each.task for each in failed.undone], failed.not_undone


async def test_a_saga_that_is_killed_at_any_commit_comes_to_the_same_end(shared_store: Store) -> None:
    async with trio.open_nursery() as graveyard:
        died, outcome, uncut = await lived(shared_store, graveyard, "uncut", 0)
        assert not died
        assert outcome == ("pay", NoMoney(9_999), ["rent-car", *["book-room"] * 100, "book-flight"], ())
        # The saga and its companion, five steps and three undos, of which one each is for a hundred rooms.
        assert sum(uncut.values()) == 2 + 4 + 100 + 2 + 100

        cut, died = 0, True
        while died:
            cut += 1
            died, *found = await lived(shared_store, graveyard, f"cut {cut}", cut)
            assert found == [outcome, uncut], cut
        assert cut > 20  # the life of the saga was as long as it was meant to be
