"""Hints from other processes come by LISTEN, survive its connection, and cost nothing where nobody watches."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import trio

from milepost.stores.open import open_store
from milepost.stores.postgres.hints import channel_of, payload_of
from milepost.stores.postgres.place import place_of
from milepost.stores.postgres.watch import Listener
from milepost.stores.protocol import ANY_HINT, Hint, Store
from milepost.testing.conformance.kit import insert, sample
from tests.stores.wire import broken_network, over_tcp, pooled

pytestmark = pytest.mark.anyio

_LONG = 20.0
_SHORT = 0.02


@pytest.fixture
def database_url(postgres_server: Any) -> str:
    return str(postgres_server.create_database())


@pytest.fixture
async def store(database_url: str) -> AsyncGenerator[Store]:
    async with open_store(database_url) as store:
        yield store


class Ear:
    """Hears hints from any thread, and lets a test wait for them."""

    def __init__(self) -> None:
        self.hints = Hint(0)
        self._told = threading.Semaphore(0)

    def tell(self, hints: Hint) -> None:
        self.hints |= hints
        self._told.release()

    def wait(self) -> Hint:
        assert self._told.acquire(timeout=_LONG), "nothing was heard"
        return self.hints

    def is_quiet(self) -> bool:
        return not self._told.acquire(blocking=False)


@contextmanager
def listening(url: str, tell: Callable[[Hint], None], **seconds: float) -> Generator[Listener]:
    listener = Listener(place_of(url), "me", tell, **seconds)
    listener.start()
    try:
        yield listener
    finally:
        listener.close()


def notify(url: str, payload: str) -> None:
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("select pg_notify(%s, %s)", [channel_of("milepost"), payload])


def end_listeners(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as owner:
        ended = owner.execute(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity "
            "where datname = current_database() and query ilike 'listen %'"
        )
        return len(ended.fetchall())


async def test_a_commit_of_another_store_is_heard_in_trio_and_in_a_thread(store: Store, database_url: str) -> None:
    in_trio, in_thread = store.watch(Hint.DUE), store.watch(Hint.DUE)
    async with open_store(database_url) as other:
        await insert(other, sample(1))
    assert await in_trio.wait(_LONG)
    assert await trio.to_thread.run_sync(in_thread.wait_blocking, _LONG)


async def test_a_commit_of_its_own_is_heard_once_and_does_not_come_back(store: Store, database_url: str) -> None:
    dues, cancels = store.watch(Hint.DUE), store.watch(Hint.CANCEL)
    await insert(store, sample(1))
    assert await dues.wait(0)
    # Notifications come in the order of their commits, so this one comes after an echo, if there is one.
    notify(database_url, payload_of(Hint.CANCEL))
    assert await cancels.wait(_LONG)
    assert not await dues.wait(0)


def test_what_was_not_meant_for_it_is_not_told_and_what_is_not_understood_is(database_url: str) -> None:
    ear = Ear()
    with listening(database_url, ear.tell):
        notify(database_url, payload_of(Hint.DUE, "me"))
        notify(database_url, payload_of(Hint.FINAL, "other"))
        assert ear.wait() == Hint.FINAL
        notify(database_url, "hello?")
        assert ear.wait() == ANY_HINT


async def test_a_schema_does_not_hear_of_another_one(store: Store, database_url: str) -> None:
    watch = store.watch(ANY_HINT)
    async with open_store(f"{database_url}{'&' if '?' in database_url else '?'}milepost_schema=other") as other:
        await insert(other, sample(1))
    notify(database_url, payload_of(Hint(0)))
    assert await watch.wait(_LONG)
    assert not await watch.wait(_SHORT)


async def test_whoever_watches_is_waked_when_the_listening_connection_was_lost(store: Store, database_url: str) -> None:
    first, second = store.watch(Hint.DUE), store.watch(Hint.FINAL)
    assert end_listeners(database_url) == 1
    assert await first.wait(_LONG)
    assert await second.wait(_LONG)
    notify(database_url, payload_of(Hint.DUE))
    assert await first.wait(_LONG)


@pytest.mark.slow
def test_a_connection_that_fell_silent_is_noticed_and_replaced(postgres_server: Any) -> None:
    ear = Ear()
    url = over_tcp(postgres_server)
    with broken_network(url) as network, listening(network.url, ear.tell, heartbeat_seconds=0.1, answer_seconds=0.2):
        network.silence()
        assert ear.wait() == ANY_HINT
        ear.hints = Hint(0)
        notify(url, payload_of(Hint.DUE))
        assert ear.wait() == Hint.DUE


def test_a_heartbeat_that_is_answered_keeps_the_connection(database_url: str) -> None:
    ear = Ear()
    with listening(database_url, ear.tell, heartbeat_seconds=0.005, answer_seconds=5):
        before = _beats(database_url)
        while _beats(database_url) == before:
            pass
        assert ear.is_quiet()
        notify(database_url, payload_of(Hint.DUE))
        assert ear.wait() == Hint.DUE


async def test_many_watches_share_one_connection_and_nobody_pays_for_none(store: Store, database_url: str) -> None:
    assert _listeners(database_url) == 0
    watches = [store.watch(Hint.DUE) for _ in range(5)]
    assert _listeners(database_url) == 1
    for watch in watches:
        watch.close()
    await insert(store, sample(1))
    assert not await watches[0].wait(_SHORT)


@pytest.mark.slow
def test_a_listener_that_comes_late_wakes_whoever_watched_meanwhile(postgres_server: Any) -> None:
    ear = Ear()
    with broken_network(over_tcp(postgres_server)) as network:
        network.gate.clear()
        with listening(network.url, ear.tell):
            assert ear.is_quiet()
            network.gate.set()
            assert ear.wait() == ANY_HINT


async def test_behind_a_pooler_it_is_said_once_that_hints_need_a_session(
    postgres_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with pooled(postgres_server.create_database()) as pooler, caplog.at_level(logging.INFO, "milepost"):
        async with open_store(pooler.url()) as store:
            watch = store.watch(Hint.DUE)
            await insert(store, sample(1))
            assert await watch.wait(_LONG)  # commits of its own are heard all the same
    assert [record.message for record in caplog.records if "behind a pooler" in record.message]


async def test_a_store_that_closes_wakes_whoever_waits(database_url: str) -> None:
    async with open_store(database_url) as store:
        watch = store.watch(Hint.DUE)
    assert await watch.wait(_LONG)


def _listeners(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as owner:
        query = "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen %'"
        return int((owner.execute(query).fetchone() or (0,))[0])


def _beats(url: str) -> object:
    with psycopg.connect(url, autocommit=True) as owner:
        query = (
            "select query_start from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() "
            "and query = 'select 1'"
        )
        return owner.execute(query).fetchall()
