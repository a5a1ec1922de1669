"""The memory store keeps every promise of a store, and has a few ways of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from milepost.errors import StoreError, StoreReadOnly
from milepost.stores.memory import MemoryStore
from milepost.stores.protocol import ANY_HINT, Session
from milepost.testing import StoreCheck, store_checks
from milepost.testing.conformance.kit import NOW, SECOND, insert, sample

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def open_memory() -> AsyncGenerator[MemoryStore]:
    store = MemoryStore()
    try:
        yield store
    finally:
        store.close()


@pytest.mark.parametrize("check", store_checks(), ids=lambda check: check.name)
async def test_the_memory_store_keeps_the_promise(check: StoreCheck) -> None:
    await check.run(open_memory)


async def test_there_is_no_sql_and_no_connection() -> None:
    async with open_memory() as store:
        assert store.url == "memory:"
        assert await store.transact(lambda session: session.transaction.connection) is None
        with pytest.raises(StoreError, match="the memory store has no SQL"):
            await store.transact(lambda session: session.transaction.execute("select 1"))


async def test_a_session_is_of_no_use_after_its_transaction() -> None:
    async with open_memory() as store:
        escaped: list[Session] = []
        await store.transact(escaped.append)
        with pytest.raises(StoreError, match="transaction has ended"):
            escaped[0].insert([sample(1)])


async def test_a_transaction_inside_a_transaction_is_refused_instead_of_waiting_for_itself() -> None:
    async with open_memory() as store:
        with pytest.raises(StoreError, match="cannot open another one"):
            await store.transact(lambda _: store.read_blocking(lambda session: session.leases()))


async def test_a_read_that_writes_is_told_to_use_transact() -> None:
    async with open_memory() as store:
        with pytest.raises(StoreReadOnly, match="use transact"):
            await store.read(lambda session: session.insert([sample(1)]))


async def test_a_transaction_that_failed_gives_no_hint() -> None:
    async with open_memory() as store:
        await insert(store, sample(1, key="k"))
        watch = store.watch(ANY_HINT)
        with pytest.raises(StoreError):
            await insert(store, sample(2), sample(3, key="k"))
        assert not await watch.wait(0)


async def test_a_waiter_finds_out_that_the_store_is_closed() -> None:
    async with open_memory() as store:
        watch = store.watch(ANY_HINT)
        store.close()
        assert await watch.wait(60)


def test_the_clock_of_the_store_does_not_step_back() -> None:
    times = iter([NOW, NOW - SECOND, NOW + SECOND])
    store = MemoryStore(lambda: next(times))
    given = [store.transact_blocking(lambda session: session.now()) for _ in range(3)]
    assert given == [NOW, NOW, NOW + SECOND]
    assert given[0].utcoffset() == timedelta(0)
