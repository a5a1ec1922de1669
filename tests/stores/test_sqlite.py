"""The SQLite store keeps every promise of a store through both drivers, and has a few ways of its own."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast, final

import apsw
import pytest
import trio
import trio.testing

from milepost.effects import Parameters
from milepost.errors import EffectTimeout, StoreClosed, StoreError, StoreUnreachable
from milepost.lifecycle.events import Requeued, Succeeded
from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.payload import JsonText
from milepost.stores.filter import TaskFilter
from milepost.stores.open import connect_store, open_store
from milepost.stores.protocol import ANY_HINT, ClaimOrder, Hint, Lease, Report, Session, Store, Watch
from milepost.stores.sqlite.driver import Connection, Driver, Place
from milepost.stores.sqlite.libraries import driver_of
from milepost.stores.sqlite.lookout import Lookout
from milepost.stores.sqlite.opening import Opening
from milepost.stores.sqlite.ticker import Bulletin, Ticker
from milepost.stores.sqlite.writer import Writer
from milepost.stores.thread import Job
from milepost.testing import StoreCheck, store_checks
from milepost.testing.conformance.kit import HOUR, NOW, decided, numbers, sample_lease, samples

pytestmark = pytest.mark.anyio

DRIVERS = ("apsw", "sqlite3")


@pytest.fixture(params=DRIVERS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/tasks.db?driver={request.param}"


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("check", store_checks(), ids=lambda check: check.name)
async def test_the_sqlite_store_keeps_the_promise(check: StoreCheck, driver: str, tmp_path: Path) -> None:
    opened = 0

    @asynccontextmanager
    async def fresh() -> AsyncGenerator[Store]:
        nonlocal opened
        opened += 1
        async with open_store(f"sqlite:///{tmp_path}/{opened}.db?driver={driver}") as store:
            yield store

    await check.run(fresh)


class Boom(Exception):
    """What a function raises to be rolled back."""


def boom(session: Session, *inserted: int) -> None:
    session.insert(samples(*inserted))
    raise Boom


def inserting(*records: TaskRecord) -> Callable[[Session], None]:
    return lambda session: session.insert(records)


def announcing(lease: Lease) -> Callable[[Session], None]:
    return lambda session: session.open_lease(lease)


async def stored(store: Store) -> list[int]:
    return numbers(await store.read(lambda session: session.search(TaskFilter(), limit=1_000)))


def names_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("milepost")]


async def test_an_exception_of_the_block_leaves_bare_and_nothing_is_left_behind(url: str, tmp_path: Path) -> None:
    stores: list[Store] = []

    async def use() -> None:
        async with open_store(url) as store:
            stores.append(store)
            await store.read(lambda session: session.leases())
            watches.append(store.watch(ANY_HINT))
            assert threads() != []
            raise Boom

    watches: list[Watch] = []
    with pytest.raises(Boom):
        await use()
    (store,), (watch,) = stores, watches
    assert threads() == []
    assert names_in(tmp_path) == ["tasks.db"]
    assert await watch.wait(0)
    for call in (store.transact, store.read):
        with pytest.raises(StoreClosed):
            await call(lambda session: session.leases())
    with pytest.raises(StoreClosed):
        store.watch(ANY_HINT)
    store.close()


async def test_memory_urls_open_the_memory_store() -> None:
    async with open_store("memory:") as store:
        assert store.url == "memory:"
    assert connect_store("memory://").url == "memory:"


async def test_relative_and_absolute_and_escaped_paths_name_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for url in ("sqlite:///one.db", f"sqlite:///{tmp_path}/two.db", "sqlite:///a%20b%3F%23.db?mode=rw"):
        store = connect_store(url)
        assert store.url == url
        store.close()
    assert names_in(tmp_path) == ["a b?#.db", "one.db", "two.db"]


async def test_what_a_function_raises_undoes_its_own_work_and_none_of_its_neighbours(url: str) -> None:
    async with open_store(url) as store:
        failed: list[int] = []

        async def insert(n: int) -> None:
            try:
                await store.transact(lambda session: boom(session, n) if n % 3 == 0 else session.insert(samples(n)))
            except Boom:
                failed.append(n)

        async with trio.open_nursery() as nursery:
            for n in range(30):
                nursery.start_soon(insert, n)
        assert sorted(failed) == [n for n in range(30) if n % 3 == 0]
        assert await stored(store) == [n for n in range(30) if n % 3 != 0]


async def test_a_keyboard_interrupt_in_a_function_is_its_callers_and_the_store_goes_on(url: str) -> None:
    def interrupted(session: Session) -> None:
        session.insert(samples(1))
        raise KeyboardInterrupt

    store = connect_store(url)
    with pytest.raises(KeyboardInterrupt):
        store.transact_blocking(interrupted)
    store.transact_blocking(lambda session: session.insert(samples(2)))
    assert await stored(store) == [2]
    store.close()


async def test_users_sql_shares_the_transaction_and_keeps_the_drivers_own_exceptions(url: str) -> None:
    own: type[Exception] = sqlite3.OperationalError if "sqlite3" in url else apsw.SQLError

    def effect(session: Session, n: int = 1) -> list[tuple[int]]:
        session.transaction.execute("create table if not exists ledger (amount integer)")
        session.transaction.execute("insert into ledger values (?)", [7])
        session.transaction.execute("insert into ledger values (:amount)", {"amount": 8})
        session.insert(samples(n))
        return session.transaction.execute("select sum(amount) from ledger")

    async with open_store(url) as store:
        assert await store.transact(effect) == [(15,)]
        with pytest.raises(own, match="no such table: nowhere"):
            await store.transact(lambda session: session.transaction.execute("select * from nowhere"))

        def rolled_back(session: Session) -> None:
            effect(session, 2)
            raise Boom

        with pytest.raises(Boom):
            await store.transact(rolled_back)
        assert await store.read(lambda session: session.transaction.execute("select amount from ledger")) == [
            (7,),
            (8,),
        ]
        kind = (await store.transact(lambda session: session.transaction.connection)).__class__.__module__
        assert kind == ("sqlite3" if "sqlite3" in url else "apsw")


async def test_sql_that_takes_too_long_is_cut_and_rolled_back(url: str) -> None:
    def endless(session: Session) -> None:
        session.insert(samples(1))
        session.transaction.execute(
            "with recursive n (i) as (select 1 union all select i + 1 from n) select max(i) from n"
        )

    async with open_store(url) as store:
        with pytest.raises(EffectTimeout, match=r"longer than 0\.01 seconds and was rolled back"):
            await store.transact(endless, within_seconds=0.01)
        assert await stored(store) == []
        await store.transact(lambda session: session.insert(samples(2)), within_seconds=60)
        assert await stored(store) == [2]


async def test_python_that_takes_too_long_is_refused_at_the_commit(url: str) -> None:
    async with open_store(url) as store:
        with pytest.raises(EffectTimeout):
            await store.transact(lambda session: session.insert(samples(1)), within_seconds=0)
        assert await stored(store) == []


async def test_a_function_that_hides_the_cut_cannot_write_past_it(url: str) -> None:
    def stubborn(session: Session) -> None:
        session.transaction.execute("create table kept (n integer)")
        with contextlib.suppress(Exception):
            session.transaction.execute(
                "with recursive n (i) as (select 1 union all select i + 1 from n) insert into kept select i from n"
            )
        session.transaction.execute("create table hidden (n integer)")

    async with open_store(url) as store:
        with pytest.raises(EffectTimeout):
            await store.transact(stubborn, within_seconds=0.01)
        tables = await store.read(lambda session: session.transaction.execute("select name from sqlite_master"))
        assert not {("kept",), ("hidden",)} & set(tables)


async def test_a_function_that_ends_the_lent_transaction_is_told_and_the_store_goes_on(url: str) -> None:
    async with open_store(url) as store:
        with pytest.raises(StoreError):
            await store.transact(lambda session: session.transaction.execute("commit"))
        await store.transact(lambda session: session.insert(samples(1)))
        assert await stored(store) == [1]


def syncing(session: Session) -> int:
    session.insert(())
    ((level,),) = session.transaction.execute("pragma synchronous")
    return int(level)


async def test_a_commit_is_synced_unless_none_of_those_who_share_it_must_be_durable(url: str) -> None:
    normal, full = 1, 2
    async with open_store(url) as store:
        assert await store.transact(syncing) == full
        assert await store.transact(syncing, durable=False) == normal
        assert await store.transact(syncing) == full


async def test_one_durable_job_makes_its_whole_batch_durable(url: str) -> None:
    async with open_store(url) as store:
        hold, held = threading.Event(), threading.Event()
        levels: list[int] = []

        async def note(durable: bool) -> None:
            levels.append(await store.transact(syncing, durable=durable))

        def wait(_: Session) -> None:
            held.set()
            hold.wait(10)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.transact, wait)
            await trio.to_thread.run_sync(held.wait)
            nursery.start_soon(note, False)
            nursery.start_soon(note, True)
            await trio.testing.wait_all_tasks_blocked()
            hold.set()
        assert levels == [2, 2]


async def test_a_session_is_of_no_use_after_its_transaction(url: str) -> None:
    async with open_store(url) as store:
        escaped: list[Session] = []
        await store.transact(escaped.append)
        with pytest.raises(StoreError, match="transaction has ended"):
            escaped[0].insert(samples(1))
        with pytest.raises(StoreError, match="transaction has ended"):
            escaped[0].transaction.execute("select 1")


async def test_a_transaction_inside_a_transaction_is_refused_instead_of_waiting_for_itself(url: str) -> None:
    async with open_store(url) as store:
        with pytest.raises(StoreError, match="cannot open another one"):
            await store.transact(lambda _: store.read_blocking(lambda session: session.leases()))
        with pytest.raises(StoreError, match="cannot open another one"):
            await store.read(lambda _: store.transact_blocking(lambda session: session.leases()))


def as_dict(_: object, row: tuple[object, ...]) -> dict[str, object]:
    return {"row": row}


def caller_of(url: str, file: Path) -> Any:
    """A connection of the user's own, with a habit that ours must not have."""
    if "sqlite3" in url:
        connection: Any = sqlite3.connect(file)
        connection.row_factory = as_dict
        return connection
    connection = apsw.Connection(str(file))
    connection.row_trace = as_dict
    connection.execute("begin immediate")
    return connection


async def test_a_session_over_the_callers_connection_is_all_or_nothing_with_their_own_work(
    url: str, tmp_path: Path
) -> None:
    async with open_store(url) as store:
        connection = caller_of(url, tmp_path / "tasks.db")
        session = store.over(connection)
        session.insert(samples(1))
        connection.execute("rollback")
        assert await stored(store) == []

        if "sqlite3" not in url:
            connection.execute("begin immediate")
        session = store.over(connection)
        assert session.now().tzinfo is not None
        session.insert(samples(2, key="k"))
        assert numbers(session.search(TaskFilter(metadata=(JsonText('{"n":2}'),)), limit=9)) == [2]
        assert list(session.holders([("send", "k")])) == [("send", "k")]
        running = connection.execute("select id from milepost_task")
        store.over(connection)  # again, while a statement of the caller's is running
        running.fetchall()
        assert await stored(store) == []
        connection.execute("commit")
        assert await stored(store) == [2]
        connection.close()


@pytest.mark.parametrize("count", [1, 10, 11, 25])
async def test_tasks_inserted_together_arrive_in_their_order_however_many_they_are(url: str, count: int) -> None:
    arriving = range(count, 0, -1)
    async with open_store(url) as store:
        await store.transact(lambda session: session.insert(samples(*arriving)))
        copies = await store.read(lambda session: session.copy_out(0, limit=100))
    assert [copy.record for copy in copies] == samples(*arriving)


async def test_a_lookout_opens_the_file_anew_after_a_fault(url: str, tmp_path: Path) -> None:
    async with open_store(url) as store:
        await store.transact(lambda session: session.insert(samples(1)))
        driver = driver_of(url.partition("driver=")[2])
        opening = Opening(Place(str(tmp_path / "tasks.db"), driver.library), driver, 1.0)
        opened: list[Connection] = []

        def connect() -> Connection:
            opened.append(opening.watcher())
            return opened[-1]

        lookout = Lookout(Bulletin(), connect)
        seen = lookout.foreign_commits()
        opened[0].close()
        with pytest.raises(StoreError):
            lookout.foreign_commits()
        assert lookout.foreign_commits() == seen
        await store.transact(lambda session: session.insert(samples(2)))
        assert lookout.known == seen
        assert lookout.foreign_commits() == seen + 1
        lookout.close()
        with pytest.raises(StoreClosed):
            lookout.foreign_commits()
        assert len(opened) == 2


async def test_a_commit_of_the_callers_own_is_hinted_at(url: str, tmp_path: Path) -> None:
    async with open_store(url) as store:
        watch = store.watch(Hint.FINAL)
        connection = caller_of(url, tmp_path / "tasks.db")
        store.over(connection).insert(samples(1))
        assert not await watch.wait(0)
        connection.execute("commit")
        assert await watch.wait(5)
        assert not await watch.wait(0)
        connection.close()


async def test_a_commit_through_another_store_is_hinted_at_and_one_of_ours_only_if_it_is_of_interest(url: str) -> None:
    async with open_store(url) as store, open_store(url) as other:
        watch = store.watch(Hint.CANCEL)
        await store.transact(lambda session: session.insert(samples(1)))
        assert not await watch.wait(0)
        assert not await trio.to_thread.run_sync(watch.wait_blocking, 0)
        await other.transact(lambda session: session.insert(samples(2)))
        assert await watch.wait(5)
        await other.transact(lambda session: session.insert(samples(3)))
        assert await trio.to_thread.run_sync(watch.wait_blocking, 5)
        await other.transact(lambda session: session.leases())
        assert not await watch.wait(0)
        watch.close()


async def test_the_clock_never_goes_back_behind_a_time_that_was_stored(url: str) -> None:
    noon = datetime(2030, 1, 1, 12, tzinfo=UTC)

    async with open_store(url, clock=lambda: noon) as store:

        def announce(session: Session) -> None:
            now = session.now()
            session.open_lease(sample_lease("ada", now))

        await store.transact(announce)
    async with open_store(url, clock=lambda: noon - timedelta(hours=1)) as store:
        assert await store.read(lambda session: session.now()) == noon
        assert await store.transact(lambda session: session.now()) == noon
    async with open_store(url, clock=lambda: noon + timedelta(hours=1)) as store:
        assert await store.read(lambda session: session.now()) == noon + timedelta(hours=1)
    async with open_store(url, clock=lambda: noon) as store:
        assert await store.read(lambda session: session.now()) == noon


async def test_an_idle_transaction_writes_nothing(url: str, tmp_path: Path) -> None:
    async with open_store(url) as store:
        await store.transact(lambda session: session.insert(samples(1)))
        log = tmp_path / "tasks.db-wal"
        before = log.stat().st_size
        await store.transact(lambda session: (session.now(), claim_nothing(session)))
        assert log.stat().st_size == before


def claim_nothing(session: Session) -> list[TaskRecord]:
    return session.claim(ClaimOrder("ada", "elsewhere", {"send": 1}, 10), now=session.now())


async def test_progress_that_was_reported_after_the_run_read_its_record_is_kept(url: str) -> None:
    async with open_store(url) as store:
        await store.transact(lambda session: session.insert(samples(1)))
        order = ClaimOrder("ada", "default", {"send": 1}, 1)
        (claimed,) = await store.transact(lambda session: session.claim(order, now=NOW))
        report = Report(claimed.id, claimed.token or "", 0.5, "half")
        await store.transact(lambda session: session.report([report]))
        ended = decided(claimed, Succeeded(JsonText("1")))
        assert await store.transact(lambda session: session.write([ended])) == [True]
        (record,) = await store.read(lambda session: session.get([claimed.id]))
        assert (record.state, record.progress, record.progress_note) == (TaskState.COMPLETED, 0.5, "half")
        reopened = decided(record, Requeued())
        assert await store.transact(lambda session: session.write([reopened])) == [True]
        (record,) = await store.read(lambda session: session.get([claimed.id]))
        assert (record.progress, record.progress_note) == (None, "")


def test_the_wal_reset_bug_of_an_old_sqlite_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    connect_store(f"sqlite:///{tmp_path}/one.db").close()
    assert caplog.messages == []
    connect_store(f"sqlite:///{tmp_path}/two.db?driver=sqlite3").close()
    assert len(caplog.messages) == (sqlite3.sqlite_version_info < (3, 51, 3))


@final
class Faulty:
    """A driver whose next COMMIT fails as a dying disk would make it."""

    def __init__(self, driver: Driver) -> None:
        self.library = driver.library
        self.sqlite_version = driver.sqlite_version
        self.driver = driver
        self.fails = False
        self.opened = 0

    def connect(self, place: Place) -> Connection:
        connection: Any = self.driver.connect(place)
        execute: Callable[[str, Parameters], list[tuple[Any, ...]]] = connection.execute
        self.opened += 1

        def faulty(sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
            if sql == "commit" and self.fails:
                self.fails = False
                raise StoreUnreachable("disk on fire")
            return execute(sql, parameters)

        connection.execute = faulty
        return cast("Connection", connection)

    def adopt(self, raw: Any) -> Connection | None:
        return self.driver.adopt(raw)


@pytest.mark.parametrize("library", DRIVERS)
def test_a_commit_that_fails_acknowledges_nothing_and_the_file_is_opened_anew(library: str, tmp_path: Path) -> None:
    driver = Faulty(driver_of(library))
    opening = Opening(Place(str(tmp_path / "tasks.db"), library=library), driver, busy_seconds=1)
    writer = Writer(opening, Ticker(lambda: NOW), Bulletin())
    first = [Job[Session](inserting(*samples(n))) for n in range(3)]
    driver.fails = True
    writer.run(first)
    for job in first:
        with pytest.raises(StoreUnreachable, match="disk on fire"):
            job.answer()
    again = [
        Job[Session](lambda session: session.insert(samples(7))),
        Job[Session](lambda session: session.count(TaskFilter())),
    ]
    writer.run(again)
    assert again[1].answer() == 1
    assert driver.opened == 2
    writer.close()


def steps_of_a_claim(file: Path, names: dict[str, int]) -> int:
    """What a claim of ten costs SQLite, in steps of its virtual machine; rolled back afterwards."""
    store = connect_store(f"sqlite:///{file}")
    connection: Any = apsw.Connection(str(file))
    connection.execute("begin immediate")
    steps = 0

    def count() -> bool:
        nonlocal steps
        steps += 1
        return False

    session = store.over(connection)
    connection.set_progress_handler(count, 1)
    assert len(session.claim(ClaimOrder("ada", "default", names, 10), now=NOW)) == 10
    connection.set_progress_handler(None, 1)
    connection.close()
    store.close()
    return steps


@pytest.mark.slow
def test_a_claim_costs_the_same_whatever_waits_that_it_cannot_take(tmp_path: Path) -> None:
    crowds: dict[str, dict[str, Any]] = {
        "more of the same": {},
        "due later, of higher priority": {"priority": 9, "due_at": NOW + HOUR},
        "of another name": {"name": "bill"},
        "of a newer version": {"version": 2},
        "in another queue": {"queue": "slow"},
        "ended": {"state": TaskState.COMPLETED, "due_at": None, "finished_at": NOW, "result_json": JsonText("1")},
        "running elsewhere": {"state": TaskState.RUNNING, "due_at": None, "executor": "bob", "token": "t", "fence": 1},
    }
    steps: dict[str, int] = {}
    for crowd, changes in {"nobody": None, **crowds}.items():
        file = tmp_path / f"{len(steps)}.db"
        store = connect_store(f"sqlite:///{file}")
        store.transact_blocking(announcing(sample_lease("bob")))
        others = [] if changes is None else samples(*range(1_000, 6_000), **changes)
        store.transact_blocking(inserting(*samples(*range(100)), *others))
        store.close()
        steps[crowd] = steps_of_a_claim(file, {"send": 1})
    assert max(steps.values()) <= 1.2 * steps["nobody"], steps
