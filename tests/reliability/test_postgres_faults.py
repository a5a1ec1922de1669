"""A PostgreSQL server, and a network to it, that fail in each way while executors run.

Nothing acknowledged is lost, nothing is repeated, and everything goes on afterwards without a restart. This is the
quick tier; MILEPOST_SOAK makes it longer.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Final, final

import psycopg
import pytest
import trio

from milepost import (
    Client,
    Executor,
    Store,
    StoreError,
    StoreReadOnly,
    StoreUnreachable,
    Success,
    TaskQuery,
    open_executor,
    open_store,
)
from milepost.telemetry import StoreChanged, StoreCondition
from milepost.testing.servers import PostgresServer, private_postgres
from tests.executor.kit import Recorder, quick, until, until_async
from tests.reliability import ledger
from tests.reliability.proxy import Proxy, proxied

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TIMES = int(os.environ.get("MILEPOST_SOAK", "1"))
PATIENCE_SECONDS: Final = 40.0
EXECUTORS: Final = 2


@pytest.fixture(scope="module")
def server() -> Generator[PostgresServer]:
    """A server of this module's own, which may be stopped."""
    with private_postgres() as server:
        yield server


@pytest.fixture
def direct(server: PostgresServer) -> str:
    """A fresh database with a ledger, by TCP, to which no test's fault ever comes."""
    return ledger.fresh_ledger(server)


@pytest.fixture
def proxy(server: PostgresServer) -> Generator[Proxy]:
    with proxied("127.0.0.1", server.port) as proxy:
        yield proxy


@final
class Fleet:
    """Executors with a store each, and somebody who goes on enqueueing whatever happens."""

    def __init__(self, executors: list[Executor], recorders: list[Recorder], enqueuer: Store) -> None:
        self.executors = executors
        self.recorders = recorders
        self.acknowledged: set[int] = set()
        self.doubtful: set[int] = set()
        self.feeding = True
        self._client = Client(enqueuer)
        self._numbers = itertools.count()

    async def feed(self) -> None:
        """Enqueue a few at a time; what is refused is not tried again, for it may have happened."""
        while self.feeding:
            numbers = [next(self._numbers) for _ in range(4)]
            try:
                await self._client.enqueue_all([ledger.book.with_metadata(n) for n in numbers])
            except StoreError:
                self.doubtful.update(numbers)
            else:
                self.acknowledged.update(numbers)
            await trio.sleep(0.02)

    @property
    def ended(self) -> int:
        """How many tasks have ended in the sight of their executor."""
        return sum(executor.statistics().ended for executor in self.executors)

    async def until_further(self, tasks: int = 40) -> None:
        """Return when each executor's store is up and they have ended `tasks` more."""
        await self.until_all_see(StoreCondition.UP)
        before = self.ended
        await until(lambda: self.ended >= before + tasks, "more tasks to end", seconds=PATIENCE_SECONDS)

    async def until_all_see(self, condition: StoreCondition) -> None:
        """Return when each executor finds its store in this condition."""
        await until(
            lambda: all(executor.statistics().store is condition for executor in self.executors),
            f"the store to be {condition.value}",
            seconds=PATIENCE_SECONDS,
        )

    async def until_waked_by_hints(self) -> None:
        """Return when a few tasks in a row start much sooner than idle executors poll."""
        prompt = 0
        with trio.fail_after(PATIENCE_SECONDS):
            while prompt < 5:
                n = next(self._numbers)
                start = time.monotonic()
                handle = await self._client.enqueue(ledger.book.with_metadata(n))
                self.acknowledged.add(n)
                assert await handle.wait() == Success.with_result(n)
                prompt = prompt + 1 if time.monotonic() - start < 0.5 else 0

    def conditions(self) -> list[list[StoreCondition]]:
        """What each executor was told of its store."""
        return [[each.condition for each in recorder.of(StoreChanged)] for recorder in self.recorders]


@asynccontextmanager
async def fleet(
    url: str,
    direct: str,
    *,
    lease_seconds: float = 20,
    poll_seconds: float = 3,
    effect_seconds: float = 10,
    hints: bool = True,
) -> AsyncGenerator[Fleet]:
    """At the end, everything is looked at: every task, every effect, and what the executors were told.

    Who is idle polls so seldom that only hints wake it at once, which is looked at as well, unless told otherwise.
    """
    config = quick(
        lease_seconds=lease_seconds,
        poll_seconds=poll_seconds,
        effect_seconds=effect_seconds,
        concurrency=10,
        stalls_max=1_000_000,
    )
    recorders = [Recorder() for _ in range(EXECUTORS)]
    async with AsyncExitStack() as stack:
        enqueuer = await stack.enter_async_context(open_store(url))
        executors: list[Executor] = []
        for recorder in recorders:
            store = await stack.enter_async_context(open_store(url))
            executors.append(
                await stack.enter_async_context(open_executor(store, [ledger.book], config=config, observer=recorder))
            )
        workers = Fleet(executors, recorders, enqueuer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(workers.feed)
            await workers.until_further()
            yield workers
            await workers.until_further()
            workers.feeding = False
        await until_async(lambda: _is_done(direct), "every task to end", seconds=PATIENCE_SECONDS)
        if hints:
            await workers.until_waked_by_hints()
        await workers.until_all_see(StoreCondition.UP)
    ledger.assert_booked_once(direct, workers.acknowledged, ledger.two_steps, workers.doubtful)
    for told in workers.conditions():
        for one, next in itertools.pairwise([StoreCondition.UP, *told, StoreCondition.UNREACHABLE]):
            assert one is not next, f"a change told twice, or up not told at the end: {told}"


async def _is_done(direct: str) -> bool:
    states = (await trio.to_thread.run_sync(ledger.audit, direct)).states
    return set(states) == {"completed"}


@contextmanager
def administration(direct: str) -> Generator[Callable[..., list[tuple[object, ...]]]]:
    """Runs statements on a connection of its own."""
    with psycopg.connect(direct, autocommit=True) as connection:

        def run(statement: str, *parameters: object) -> list[tuple[object, ...]]:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description is not None else []

        yield run


async def test_a_server_that_is_stopped_at_once_and_started_again(server: PostgresServer, direct: str) -> None:
    async with fleet(direct, direct) as workers:
        ids = [executor.id for executor in workers.executors]
        for _ in range(TIMES):
            await trio.to_thread.run_sync(server.stop, "immediate")
            await workers.until_all_see(StoreCondition.UNREACHABLE)
            await trio.to_thread.run_sync(server.start)
            await workers.until_further()
        assert [executor.id for executor in workers.executors] == ids, "the lease was held all the time"
    for told in workers.conditions():
        # A call that began before the server was back may fail after another one was answered: one pair more.
        assert told == len(told) // 2 * [StoreCondition.UNREACHABLE, StoreCondition.UP]
        assert TIMES <= len(told) // 2 <= 2 * TIMES


async def test_a_server_that_can_only_be_read_for_a_while(direct: str) -> None:
    async with fleet(direct, direct) as workers:
        with administration(direct) as run:
            for _ in range(TIMES):
                run("alter system set default_transaction_read_only = on")
                run("select pg_reload_conf()")
                await workers.until_all_see(StoreCondition.READ_ONLY)
                with pytest.raises(StoreReadOnly):
                    async with open_store(direct) as store:
                        await Client(store).enqueue(ledger.book.with_metadata(-1))
                run("set default_transaction_read_only = off")
                run("alter system reset default_transaction_read_only")
                run("select pg_reload_conf()")
                await workers.until_further()
    for told in workers.conditions():
        # Each backend learns of the setting at a moment of its own, so that for an executor it may come and go.
        assert len(told) >= 2 * TIMES
        assert set(told) == {StoreCondition.READ_ONLY, StoreCondition.UP}


TERMINATE = (
    "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() "
    "and pid <> pg_backend_pid() and query ~* %s"
)


async def test_all_of_its_backends_terminated_again_and_again(direct: str) -> None:
    rounds, ended = 20 * TIMES, 0
    async with fleet(direct, direct) as workers:
        with administration(direct) as run:
            for _ in range(rounds):
                ((count,),) = run(TERMINATE, "")
                assert isinstance(count, int)
                ended += count
                await workers.until_further(5)
    assert ended > 3 * rounds, "too few backends were terminated for this to mean anything"


async def test_the_connection_that_listens_terminated_again_and_again(direct: str) -> None:
    rounds, ended = 5 * TIMES, 0
    async with fleet(direct, direct) as workers:
        with administration(direct) as run:
            for _ in range(rounds):

                def listeners() -> bool:
                    ((count,),) = run("select count(*) from pg_stat_activity where query ~* '^listen'")
                    return count == EXECUTORS

                await until(listeners, "every executor to listen", seconds=PATIENCE_SECONDS)
                ((count,),) = run(TERMINATE, "^listen")
                assert isinstance(count, int)
                ended += count
                await workers.until_further(5)
    assert ended == EXECUTORS * rounds
    assert workers.conditions() == [[] for _ in range(EXECUTORS)], "polling alone is correct: nobody need be told"


async def test_replies_that_are_lost_exactly_after_commit(direct: str, proxy: Proxy) -> None:
    lost = 60 * TIMES
    chance = random.Random(7)
    async with fleet(proxy.url(direct), direct) as workers:
        proxy.loses_commit = lambda: chance.random() < 0.15
        await until(lambda: proxy.seen["lost"] >= lost, f"{lost} replies to be lost", seconds=60 * TIMES)
        proxy.loses_commit = lambda: False
    assert sum(executor.statistics().discarded for executor in workers.executors) == 0


async def test_connections_that_are_cut_at_any_moment(direct: str, proxy: Proxy) -> None:
    chance = random.Random(11)
    cut = 0
    async with fleet(proxy.url(direct), direct) as workers:
        for _ in range(20 * TIMES):
            await trio.sleep(chance.uniform(0, 0.05))  # a cut has to come at some moment, and any will do
            cut += proxy.cut()
            await workers.until_further(2)
    assert cut >= 60


async def test_a_slow_network(direct: str, proxy: Proxy) -> None:
    async with fleet(proxy.url(direct), direct) as workers:
        proxy.delay_seconds = 0.03
        await workers.until_further(20)
        proxy.delay_seconds = 0.0
    assert workers.conditions() == [[] for _ in range(EXECUTORS)]


async def test_a_network_that_is_away_for_longer_than_a_lease(direct: str, proxy: Proxy) -> None:
    async with fleet(proxy.url(direct), direct, lease_seconds=1) as workers:
        ids = [executor.id for executor in workers.executors]
        proxy.refuses = True
        proxy.cut()
        await workers.until_all_see(StoreCondition.UNREACHABLE)
        with administration(direct) as run:
            expired = "select count(*) from milepost.milepost_lease where lease_until < clock_timestamp()"
            await until(lambda: run(expired) == [(EXECUTORS,)], "every lease to run out")
        proxy.refuses = False
        await workers.until_further()
        assert all(executor.id != id for executor, id in zip(workers.executors, ids, strict=True))


async def test_connections_that_fall_silent_without_a_word(direct: str, proxy: Proxy) -> None:
    # The server answers everything within its statement_timeout, so whoever is silent for longer is not there any more.
    # The connection that listens finds out by its heartbeat, which takes longer than the quick tier has time for.
    options = "options=-c%20statement_timeout%3D1s%20-c%20idle_in_transaction_session_timeout%3D1s"
    async with fleet(
        f"{proxy.url(direct)}?{options}", direct, lease_seconds=1.5, poll_seconds=1, effect_seconds=2, hints=TIMES > 1
    ) as workers:
        for _ in range(TIMES):
            assert proxy.silence() >= 2 * EXECUTORS
            await workers.until_further()


async def test_a_client_is_told_that_the_server_is_away_and_goes_on_with_the_same_store(
    server: PostgresServer, direct: str
) -> None:
    async with open_store(direct) as store:
        client = Client(store)
        await client.enqueue(ledger.book.with_metadata(1))
        await trio.to_thread.run_sync(server.stop, "immediate")
        with pytest.raises(StoreUnreachable):
            await client.enqueue(ledger.book.with_metadata(2))
        await trio.to_thread.run_sync(server.start)
        await client.enqueue(ledger.book.with_metadata(3))
        assert await client.count(TaskQuery()) == 2
