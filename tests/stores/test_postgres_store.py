"""How calls become transactions on PostgreSQL: what is run again, what a loss means, and connections of callers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest
import trio
from psycopg.rows import dict_row
from returns.result import Failure as Refused
from returns.result import Result
from returns.result import Success as Done

from milepost import BlockingClient, Client, Empty, Execution, TaskHandle, Transaction, open_executor, task
from milepost.errors import (
    CommitUnknown,
    EffectTimeout,
    StoreBusy,
    StoreError,
    StoreReadOnly,
    StoreUnreachable,
)
from milepost.results import Success
from milepost.stores.filter import TaskFilter
from milepost.stores.open import connect_store, open_store
from milepost.stores.postgres import PostgresStore
from milepost.stores.postgres.deadline import bounded
from milepost.stores.postgres.faults import translated
from milepost.stores.protocol import Hint, Session, Store
from milepost.testing.conformance.kit import insert, numbers, sample
from tests.stores.wire import broken_network, over_tcp

pytestmark = pytest.mark.anyio

Rows = list[tuple[Any, ...]]


@task
async def greet(name: str, state: Empty) -> Success[str]:
    return Success(f"hello {name}")


@pytest.fixture
def database_url(postgres_server: Any) -> str:
    return str(postgres_server.create_database())


@pytest.fixture
async def store(database_url: str) -> AsyncGenerator[Store]:
    async with open_store(database_url) as store:
        await store.transact(sql("create table note (id int primary key, text text not null default '')"))
        yield store


def sql(statement: str, *parameters: object) -> Callable[[Session], Rows]:
    return lambda session: session.transaction.execute(statement, parameters)


async def count(store: Store) -> int:
    return await store.read(lambda session: session.count(TaskFilter()))


async def notes(store: Store) -> list[int]:
    return [id for (id,) in await store.read(sql("select id from note order by id"))]


# What is run again


async def test_a_deadlock_is_undone_and_run_again(store: Store) -> None:
    await store.transact(sql("insert into note values (1), (2)"))
    met = threading.Barrier(2)
    runs: list[int] = []

    def crossing(first: int, second: int, session: Session) -> None:
        runs.append(first)
        session.transaction.execute("set local deadlock_timeout = '10ms'")
        session.transaction.execute("update note set text = text || 'x' where id = %s", [first])
        if len(runs) <= 2:
            met.wait(10)
        session.transaction.execute("update note set text = text || 'x' where id = %s", [second])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.transact, partial(crossing, 1, 2))
        nursery.start_soon(store.transact, partial(crossing, 2, 1))
    assert await store.read(sql("select text from note")) == [("xx",), ("xx",)]
    assert len(runs) == 3


async def test_what_conflicts_every_time_is_busy_after_a_few_tries(store: Store) -> None:
    runs: list[Session] = []

    def conflict(session: Session) -> None:
        runs.append(session)
        with translated():
            session.transaction.execute("do $$ begin raise exception sqlstate '40001'; end $$")

    with pytest.raises(StoreBusy, match="met others on the same rows"):
        await store.transact(conflict)
    assert len(runs) == 5


async def test_a_users_own_refused_row_is_psycopgs_and_not_run_again(store: Store) -> None:
    runs: list[Session] = []

    def twice(session: Session) -> None:
        runs.append(session)
        session.transaction.execute("insert into note values (1), (1)")

    with pytest.raises(psycopg.errors.UniqueViolation):
        await store.transact(twice)
    assert len(runs) == 1
    assert await notes(store) == []


# Connections that are lost


async def test_a_connection_that_died_between_two_calls_is_replaced_unnoticed(store: Store, database_url: str) -> None:
    await insert(store, sample(1))
    _end_all_others(database_url)
    await insert(store, sample(2))
    assert await count(store) == 2


async def test_a_connection_that_dies_inside_a_transaction_undoes_it(store: Store) -> None:
    def die(session: Session) -> None:
        session.transaction.execute("insert into note values (1)")
        try:
            session.transaction.execute("select pg_terminate_backend(pg_backend_pid())")
        except psycopg.Error as error:
            raise RuntimeError("user code made something else of it") from error

    with pytest.raises(StoreUnreachable, match="lost inside a transaction; nothing of it was written"):
        await store.transact(die)
    assert await notes(store) == []


@pytest.mark.parametrize(("moment", "wanted"), [("before", []), ("after", [1])])
async def test_a_connection_lost_under_a_commit_leaves_its_outcome_open(
    postgres_server: Any, moment: str, wanted: list[int]
) -> None:
    with broken_network(over_tcp(postgres_server)) as network:
        async with open_store(network.url) as store:
            await store.transact(sql("create table note (id int primary key)"))
            network.lose_commit = moment
            with pytest.raises(CommitUnknown, match="may or may not have happened"):
                await store.transact(sql("insert into note values (1)"))
            assert await notes(store) == wanted


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_an_enqueue_whose_reply_is_lost_enqueues_once(postgres_server: Any, moment: str) -> None:
    with broken_network(over_tcp(postgres_server)) as network:
        async with open_store(network.url) as store:
            client = Client(store)
            network.lose_commit = moment
            handle = await client.enqueue(greet.with_metadata("ada"))
            assert handle.created
            assert (await client.get(handle.id)).unwrap().name == "greet"
            assert await count(store) == 1
        blocking = BlockingClient.connect(network.url)
        network.lose_commit = moment
        assert blocking.enqueue(greet.with_metadata("bob")).created
        assert blocking.store.read_blocking(lambda session: session.count(TaskFilter())) == 2
        blocking.close()


async def test_a_read_only_server_is_read_and_works_again_once_it_can_be_written(
    store: Store, database_url: str
) -> None:
    name = (await store.read(sql("select current_database()")))[0][0]
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(f"alter database {name} set default_transaction_read_only = on".encode())
    _end_all_others(database_url)
    assert await count(store) == 0
    with pytest.raises(StoreReadOnly, match="can only be read"):
        await insert(store, sample(1))
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("set default_transaction_read_only = off")
        owner.execute(f"alter database {name} set default_transaction_read_only = off".encode())
    await insert(store, sample(1))
    assert await count(store) == 1


# Limits of time


async def test_a_slow_statement_is_cut_on_the_server_and_undone(store: Store) -> None:
    def slow(session: Session) -> None:
        session.transaction.execute("insert into note values (1)")
        session.transaction.execute("select pg_sleep(60)")

    with trio.fail_after(10), pytest.raises(EffectTimeout, match=r"longer than 0\.05 seconds and was rolled back"):
        await store.transact(slow, within_seconds=0.05)
    assert await notes(store) == []
    assert await store.read(
        sql(
            "select count(*) from pg_stat_activity where query like '%%pg_sleep(60)%%' "
            "and pid <> pg_backend_pid() and state = 'active'"
        )
    ) == [(0,)]


@pytest.mark.slow
async def test_a_cut_never_reaches_the_next_call(database_url: str) -> None:
    async with open_store(f"{database_url}{_sep(database_url)}milepost_connections=1") as store:
        late = 0
        for n in range(150):
            try:
                # Ends at about the moment of the cut, on either side of it.
                await store.transact(sql("select pg_sleep(%s)", 0.002), within_seconds=0.0015 + n * 1e-5)
            except EffectTimeout:
                late += 1
            await store.transact(sql("select pg_sleep(0.001)"), within_seconds=60)
        assert late > 0


def test_a_cut_that_is_under_way_is_waited_for() -> None:
    class Busy:
        begun, released, is_finished = threading.Event(), threading.Event(), False

        def cancel_safe(self, *, timeout: float) -> None:
            self.begun.set()
            self.released.wait(timeout)
            self.is_finished = True

    busy = Busy()

    def overrun() -> None:
        with bounded(cast("Any", busy), 0.001):
            assert busy.begun.wait(10)
            threading.Timer(0.02, busy.released.set).start()

    with pytest.raises(EffectTimeout):
        overrun()
    assert busy.is_finished


async def test_a_slow_effect_keeps_nobody_else_waiting(database_url: str) -> None:
    async with open_store(f"{database_url}{_sep(database_url)}milepost_connections=1") as store:
        begun, done = threading.Event(), threading.Event()

        def hold(session: Session) -> bool:
            begun.set()
            return done.wait(10)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(store.transact, hold, within_seconds=30))
            await trio.to_thread.run_sync(begun.wait, 10)
            await insert(store, sample(1))
            assert await count(store) == 1
            done.set()


# What a function may do to its connection


async def test_a_statement_that_failed_cannot_be_swallowed(store: Store) -> None:
    def swallow(session: Session) -> None:
        session.transaction.execute("insert into note values (1)")
        with pytest.raises(psycopg.errors.DivisionByZero):
            session.transaction.execute("select 1 / 0")

    with pytest.raises(StoreError, match="a statement failed in this transaction and undid it"):
        await store.transact(swallow)
    assert await notes(store) == []


async def test_a_function_that_ends_its_transaction_is_told_so(store: Store) -> None:
    with pytest.raises(StoreError, match="neither commit nor roll back inside it"):
        await store.transact(lambda session: session.transaction.connection.rollback())
    await insert(store, sample(1))


async def test_what_user_code_sets_on_the_connection_is_gone_with_the_transaction(database_url: str) -> None:
    async with open_store(f"{database_url}{_sep(database_url)}milepost_connections=1") as store:
        await store.transact(lambda session: spoil(session.transaction.connection))
        await insert(store, sample(1))
        assert await store.transact(lambda session: numbers(session.search(TaskFilter(), limit=9))) == [1]


async def test_a_savepoint_of_the_users_is_a_savepoint(store: Store) -> None:
    def partly(session: Session) -> None:
        session.transaction.execute("insert into note values (1)")
        with suppress(psycopg.errors.DivisionByZero), session.transaction.connection.transaction():
            session.transaction.execute("insert into note values (2)")
            session.transaction.execute("select 1 / 0")

    await store.transact(partly)
    assert await notes(store) == [1]


# Connections: how they are set, how many, until when


async def test_a_connection_is_set_up_and_the_url_can_say_otherwise(store: Store, database_url: str) -> None:
    names = ("application_name", "TimeZone", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    show = sql("select " + ", ".join(f"current_setting('{name}')" for name in names))
    assert await store.transact(show) == [("milepost", "UTC", "1min", "10s", "20s")]
    other = "application_name=mine&options=-c%20statement_timeout%3D5s%20--lock-timeout%3D6s"
    async with open_store(f"{database_url}{_sep(database_url)}{other}") as second:
        assert await second.transact(show) == [("mine", "UTC", "5s", "6s", "20s")]


async def test_there_are_no_more_connections_than_allowed_and_none_after_the_end(database_url: str) -> None:
    async with open_store(f"{database_url}{_sep(database_url)}milepost_connections=2") as store:
        store.watch(Hint.DUE)
        async with trio.open_nursery() as nursery:
            for n in range(20):
                nursery.start_soon(insert, store, sample(n))
                nursery.start_soon(count, store)
                nursery.start_soon(partial(store.transact, sql("select pg_sleep(0.002)"), within_seconds=10))
        assert _has_connections(database_url, 2 + 2 + 2 + 1)
    assert _has_connections(database_url, 0)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("milepost")]


def test_a_blocking_store_closes_what_it_opened_and_may_be_closed_twice(database_url: str) -> None:
    store = connect_store(database_url)
    assert isinstance(store, PostgresStore)
    store.watch(Hint.DUE)
    store.transact_blocking(lambda session: session.insert([sample(1)]))
    with pytest.raises(StoreError, match="cannot open another one of the same store"):
        store.transact_blocking(lambda _: store.read_blocking(lambda session: session.count(TaskFilter())))
    store.close()
    store.close()
    assert _has_connections(database_url, 0)


async def test_a_read_is_a_snapshot_beside_the_writers(store: Store) -> None:
    looked, written = threading.Event(), threading.Event()

    def look_twice(session: Session) -> tuple[int, int]:
        before = session.count(TaskFilter())
        looked.set()
        assert written.wait(10)
        return before, session.count(TaskFilter())

    async def write() -> None:
        await trio.to_thread.run_sync(looked.wait, 10)
        await insert(store, sample(1))
        written.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        assert await store.read(look_twice) == (0, 0)


# The caller's own transaction


async def test_a_rolled_back_transaction_of_the_callers_leaves_no_task(store: Store, database_url: str) -> None:
    client = Client(store)
    with psycopg.connect(database_url) as own:
        handle = client.within(own).enqueue(greet.with_metadata("ada"))
        own.rollback()
        assert await count(store) == 0
        again = client.within(own).enqueue(greet.with_metadata("ada"))
        own.execute("insert into note values (1)")
        own.commit()
    assert handle.id != again.id
    assert await count(store) == 1
    assert await notes(store) == [1]


@pytest.mark.parametrize("kind", ["trio", "blocking"])
async def test_a_committed_transaction_of_the_callers_wakes_a_watch(store: Store, database_url: str, kind: str) -> None:
    client = Client(store) if kind == "trio" else BlockingClient(store)
    watch = store.watch(Hint.DUE)
    with psycopg.connect(database_url, autocommit=True) as own:
        with own.transaction():
            client.within(own).enqueue(greet.with_metadata("ada"))
            assert not await watch.wait(0.02)
        assert await watch.wait(10)
    assert await count(store) == 1


async def test_it_does_not_matter_how_the_callers_connection_is_set_up(store: Store, database_url: str) -> None:
    with psycopg.connect(database_url) as own:
        spoil(own)
        own.execute("set timezone = 'Asia/Tokyo'")
        own.execute("set search_path = pg_catalog")
        own.prepare_threshold = 0
        inside = Client(store).within(own)
        first = inside.enqueue(greet.with_metadata("ada").with_key("k"))
        second = inside.enqueue(greet.with_metadata("bob").with_key("k"))
        assert isinstance(first, TaskHandle)
        assert (second.id, second.created) == (first.id, False)
    found = (await Client(store).get(first.id)).unwrap()
    assert found.created_at.utcoffset() is not None
    assert await count(store) == 1


async def test_a_connection_of_sqlalchemy_is_understood_by_its_driver_connection(
    store: Store, database_url: str
) -> None:
    with psycopg.connect(database_url) as own:
        alchemy = SimpleNamespace(connection=SimpleNamespace(driver_connection=own))
        Client(store).within(alchemy).enqueue(greet.with_metadata("ada"))
    assert await count(store) == 1


async def test_a_connection_that_cannot_be_joined_is_refused_with_the_reason(
    store: Store, postgres_server: Any
) -> None:
    url = store.url
    with pytest.raises(TypeError, match=r"pass an open psycopg\.Connection.*not a builtins\.object"):
        store.over(object())
    with psycopg.connect(url, autocommit=True) as idle:
        with pytest.raises(ValueError, match="no open transaction; begin one first"):
            store.over(idle)
        idle.autocommit = False
        with pytest.raises(psycopg.errors.DivisionByZero):
            idle.execute("select 1 / 0")
        with pytest.raises(ValueError, match="roll it back first"):
            store.over(idle)
    with pytest.raises(ValueError, match="closed or lost"):
        store.over(idle)
    elsewhere = psycopg.connect(postgres_server.create_database())
    with elsewhere, pytest.raises(ValueError, match="another database than the store's"):
        store.over(elsewhere)


async def test_an_asynchronous_connection_is_refused_with_the_advice(store: Store, database_url: str) -> None:
    async def try_it() -> None:
        async with await psycopg.AsyncConnection.connect(database_url) as own:
            with pytest.raises(TypeError, match=r"AsyncConnection cannot be joined.*use a psycopg\.Connection"):
                store.over(own)

    await trio.to_thread.run_sync(lambda: asyncio.run(try_it()))


async def test_an_effect_is_handed_the_psycopg_connection_of_the_transaction(store: Store) -> None:
    are_psycopgs: list[bool] = []

    @task
    async def record(metadata: int, state: int, execution: Execution[int]) -> Success[int]:
        def effect(transaction: Transaction) -> Result[int, str]:
            are_psycopgs.append(isinstance(transaction.connection, psycopg.Connection))
            transaction.connection.execute("insert into note values (%s)", [metadata])
            return Done(metadata) if metadata < 3 else Refused("no")

        await execution.commit_with(effect, lambda value: value)
        return Success(metadata)

    async with open_executor(store, [record]):
        client = Client(store)
        for number in (1, 3):
            handle = await client.enqueue(record.with_metadata(number).with_execution_metadata(0))
            with trio.fail_after(10):
                await handle.wait()
    assert are_psycopgs == [True, True]
    assert await notes(store) == [1]


def spoil(connection: Any) -> None:
    connection.row_factory = dict_row
    connection.cursor_factory = psycopg.ClientCursor


def _end_all_others(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity "
            "where pid <> pg_backend_pid() and datname = current_database() and backend_type = 'client backend'"
        )


def _has_connections(url: str, wanted: int) -> bool:
    """Whether a store has so many connections; those that were just closed may still be on their way out."""
    query = "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'milepost'"
    with psycopg.connect(url, autocommit=True, application_name="test") as owner:
        return any(owner.execute(query).fetchone() == (wanted,) for _ in range(1_000))


def _sep(url: str) -> str:
    return "&" if "?" in url else "?"
