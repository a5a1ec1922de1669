"""Whatever is wrong with the URL, the file or its rows: one clear line that names it, and nothing else is disturbed."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest
import trio

from milepost.crash import CrashKind
from milepost.errors import (
    MixedSqliteLibraries,
    SchemaNewer,
    SchemaOld,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreUnreachable,
    StoreUrlError,
)
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.payload import JsonText
from milepost.stores.filter import TaskFilter
from milepost.stores.open import connect_store, open_store
from milepost.stores.protocol import ClaimOrder, Session, Store
from milepost.stores.sqlite import SqliteStore
from milepost.stores.sqlite.driver import Place
from milepost.testing.conformance.kit import NOW, sample

pytestmark = pytest.mark.anyio

DRIVERS = ("apsw", "sqlite3")
ENOUGH = 1_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def url_of(file: Path, driver: str = "apsw", *options: str) -> str:
    return f"sqlite:///{file}?{'&'.join((f'driver={driver}', *options))}"


def prepared(file: Path, *statements: str) -> None:
    """Make a store with a few tasks, then do to it what a stranger might."""
    store = connect_store(url_of(file))
    store.transact_blocking(lambda session: session.insert([sample(n) for n in range(4)]))
    store.close()
    connection: Any = apsw.Connection(str(file))
    for statement in statements:
        connection.execute(statement)
    connection.close()


def inserting(*records: TaskRecord) -> Callable[[Session], None]:
    return lambda session: session.insert(records)


def tear(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))


async def everything(store: Store) -> list[TaskId]:
    return await store.read(lambda session: [record.id for record in session.search(TaskFilter(), limit=ENOUGH)])


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "is not the URL of a store"),
        ("tasks.db", "is not the URL of a store"),
        ("mysql://me:secret@host/tasks", "is not the URL of a store"),
        ("mssql://me:secret@host/tasks?password=secret", "is not the URL of a store"),
        ("sqlite:tasks.db", "needs three slashes"),
        ("sqlite://tasks.db", "needs three slashes"),
        ("sqlite://me:secret@host/tasks.db", "needs three slashes"),
        ("sqlite:///", "names no file"),
        ("sqlite:///folder/", "names no file"),
        ("sqlite:///nul%00.db", "names no file"),
        ("sqlite:///:memory:", "use memory:"),
        ("sqlite:///tasks.db?driver=pysqlite", "neither apsw nor sqlite3"),
        ("sqlite:///tasks.db?mode=rwc", "neither ro nor rw"),
        ("sqlite:///tasks.db?password=secret", "only driver and mode are understood"),
        ("sqlite:///tasks.db?mode=ro&mode=rw", "the option mode twice"),
    ],
)
async def test_a_url_that_is_not_understood_is_refused_without_telling_secrets(url: str, says: str) -> None:
    with pytest.raises(StoreUrlError, match=says) as refused:
        connect_store(url)
    assert "secret@" not in str(refused.value)
    assert "=secret" not in str(refused.value)
    with pytest.raises(StoreUrlError):
        async with open_store(url):
            raise AssertionError("opened")


def test_a_file_that_is_not_a_database_is_left_alone(file: Path, driver: str) -> None:
    file.write_bytes(b"Dear diary, " * 1_000)
    with pytest.raises(StoreDamaged, match=r"tasks\.db is not a SQLite database"):
        connect_store(url_of(file, driver))
    assert file.read_bytes() == b"Dear diary, " * 1_000


async def test_a_file_with_its_middle_torn_out_is_damaged_and_not_a_crash(file: Path, driver: str) -> None:
    prepared(file)
    tear(file)
    with pytest.raises(StoreDamaged, match="is damaged"):
        async with open_store(url_of(file, driver)) as store:
            await everything(store)


def test_a_folder_in_the_files_place_is_named(file: Path, driver: str) -> None:
    file.mkdir()
    with pytest.raises(StoreUnreachable, match="is a folder; name a file in it"):
        connect_store(url_of(file, driver))


def test_a_missing_folder_is_named(tmp_path: Path, driver: str) -> None:
    with pytest.raises(StoreUnreachable, match=r"there is no folder .*missing; make it first"):
        connect_store(url_of(tmp_path / "missing" / "tasks.db", driver))


def test_a_newer_schema_is_refused_and_not_touched(file: Path, driver: str) -> None:
    prepared(file, "insert into milepost_schema (version, applied_at) values (999, 0)")
    before = file.read_bytes()
    with pytest.raises(SchemaNewer, match=r"schema version 999.*upgrade milepost"):
        connect_store(url_of(file, driver))
    assert file.read_bytes() == before


def test_without_migrating_a_missing_file_is_not_made(file: Path, driver: str) -> None:
    with pytest.raises(SchemaOld, match=r"has no tables of milepost.*open it once with migrate=True"):
        connect_store(url_of(file, driver), migrate=False)
    assert not file.exists()


def test_without_migrating_somebody_elses_database_is_not_changed(
    file: Path, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("create table song (title text)")
    connection.close()
    before = file.read_bytes()
    monkeypatch.setenv("MILEPOST_MIGRATE", "0")
    with pytest.raises(SchemaOld, match="migrating was not allowed"):
        connect_store(url_of(file, driver))
    assert file.read_bytes() == before
    monkeypatch.delenv("MILEPOST_MIGRATE")
    store = connect_store(url_of(file, driver))
    assert store.read_blocking(lambda session: session.transaction.execute("select count(*) from song")) == [(0,)]
    store.close()


async def test_a_current_schema_opens_without_migrating(file: Path, driver: str) -> None:
    prepared(file)
    async with open_store(url_of(file, driver), migrate=False) as store:
        assert len(await everything(store)) == 4


async def test_a_store_opened_for_reading_reads_and_refuses_to_write(file: Path, driver: str) -> None:
    prepared(file)
    async with open_store(url_of(file, driver, "mode=ro")) as store:
        assert len(await everything(store)) == 4
        assert await store.transact(lambda session: session.count(TaskFilter())) == 4
        with pytest.raises(StoreReadOnly, match="can only be read"):
            await store.transact(lambda session: session.insert([sample(9)]))


def test_a_file_without_tables_cannot_be_opened_for_reading(file: Path, driver: str) -> None:
    file.touch()
    with pytest.raises(SchemaOld, match="opened with `mode=ro`"):
        connect_store(url_of(file, driver, "mode=ro"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
async def test_a_file_that_may_not_be_written_is_read_only(file: Path, driver: str) -> None:
    prepared(file)
    os.chmod(file, 0o444)
    async with open_store(url_of(file, driver)) as store:
        assert len(await everything(store)) == 4
        with pytest.raises(StoreReadOnly):
            await store.transact(lambda session: session.insert([sample(9)]))


async def test_a_full_disk_loses_nothing_that_was_acknowledged(file: Path, driver: str) -> None:
    large = JsonText('"' + "x" * 10_000 + '"')

    def limit(pages: int) -> Callable[[Session], Any]:
        return lambda session: session.transaction.execute(f"pragma max_page_count = {pages}")

    async with open_store(url_of(file, driver)) as store:
        await store.transact(limit(60))
        kept: list[TaskId] = []

        async def fill() -> None:
            for n in range(100):
                record = sample(n, metadata_json=large)
                await store.transact(inserting(record))
                kept.append(record.id)

        with pytest.raises(StoreFull, match=r"cannot grow.*make room"):
            await fill()
        assert kept
        assert await everything(store) == kept
        await store.transact(limit(10_000))
        await store.transact(lambda session: session.insert([sample(100, metadata_json=large)]))
        assert len(await everything(store)) == len(kept) + 1


async def test_a_full_disk_under_one_call_is_told_to_those_who_shared_its_transaction(file: Path, driver: str) -> None:
    large = JsonText('"' + "x" * 1_000_000 + '"')
    acknowledged: list[TaskId] = []
    refused: list[TaskId] = []

    async with open_store(url_of(file, driver)) as store:
        await store.transact(lambda session: session.transaction.execute("pragma max_page_count = 60"))

        async def insert(n: int) -> None:
            record = sample(n, metadata_json=large if n == 5 else JsonText("{}"))
            try:
                await store.transact(lambda session: session.insert([record]))
                acknowledged.append(record.id)
            except StoreError:
                refused.append(record.id)

        async with trio.open_nursery() as nursery:
            for n in range(10):
                nursery.start_soon(insert, n)
        assert sample(5).id in refused
        assert await everything(store) == sorted(acknowledged)


async def test_a_file_that_stays_locked_is_busy_and_then_works_again(file: Path, driver: str) -> None:
    prepared(file)
    other: Any = (apsw if driver == "apsw" else sqlite3).Connection(str(file))
    store = SqliteStore(Place(str(file), library=driver), "sqlite:", busy_seconds=0.01)
    try:
        await store.open()
        other.execute("begin immediate")
        with pytest.raises(StoreBusy, match=r"locked by another program.*waited 0\.01 seconds"):
            await store.transact(lambda session: session.insert([sample(9)]))
        assert len(await everything(store)) == 4
        other.execute("rollback")
        await store.transact(lambda session: session.insert([sample(9)]))
    finally:
        await store.aclose()
        other.close()


async def test_two_sqlite_libraries_on_one_file_are_refused(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(file)
    async with open_store(url_of(file)) as store:
        for path in (file, link):
            with pytest.raises(MixedSqliteLibraries, match=r"in use by apsw.*use apsw for both"):
                connect_store(url_of(path, "sqlite3"))
        other = sqlite3.connect(file)
        with pytest.raises(MixedSqliteLibraries, match="break each other's file locks"):
            store.over(other)
        async with open_store(url_of(link)):
            pass  # the same library may open it as often as it likes
    connect_store(url_of(file, "sqlite3")).close()


async def test_a_connection_of_another_kind_or_file_or_without_a_transaction_is_refused(
    file: Path, tmp_path: Path, driver: str
) -> None:
    own: Any = apsw if driver == "apsw" else sqlite3
    async with open_store(url_of(file, driver)) as store:
        with pytest.raises(TypeError, match=rf"pass an open {driver}.Connection .* not a builtins.object"):
            store.over(object())
        elsewhere = own.Connection(str(tmp_path / "other.db"))
        with pytest.raises(ValueError, match=r"other\.db, the store is"):
            store.over(elsewhere)
        with pytest.raises(ValueError, match="a database in memory"):
            store.over(own.Connection(":memory:"))
        idle = own.Connection(str(file))
        if driver == "sqlite3":
            idle.isolation_level = None
        with pytest.raises(ValueError, match="no open transaction; begin one first"):
            store.over(idle)


async def test_a_damaged_row_is_shown_and_disturbs_nobody(file: Path, driver: str) -> None:
    prepared(
        file,
        "update milepost_task set metadata_json = '{\"torn', crash = 'boom' where number = 1",
        """update milepost_task set execution_metadata_json = '', crash = '{"kind": "meteor"}' where number = 2""",
        "update milepost_task set created_at = 9223372036854775807, crash = '[]' where number = 3",
    )
    async with open_store(url_of(file, driver)) as store:
        records = await store.read(lambda session: session.search(TaskFilter(), limit=ENOUGH))
        assert records[0].metadata == '{"torn'
        assert [record.crash and record.crash.kind for record in records] == [*[CrashKind.EXCEPTION] * 3, None]
        wanted = TaskFilter(metadata=(JsonText("{}"),))
        assert await store.read(lambda session: session.count(wanted)) == 3
        ids = [record.id for record in records]
        assert [record.id for record in await store.read(lambda session: session.get(ids))] == ids
        order = ClaimOrder("me", records[0].queue, {records[0].name: 9}, 10)
        late = NOW + timedelta(days=1)
        assert len(await store.transact(lambda session: session.claim(order, now=late))) == 4


async def test_what_sqlite_cannot_hold_is_refused_with_its_reason(file: Path, driver: str) -> None:
    async with open_store(url_of(file, driver)) as store:
        for record in (sample(1, priority=2**70), sample(1, queue="half \ud800")):
            with pytest.raises(StoreError, match="a value cannot be stored"):
                await store.transact(inserting(record))
        await store.transact(lambda session: session.insert([sample(1)]))
        with pytest.raises(StoreError, match="refused a row"):
            await store.transact(lambda session: session.insert([sample(1)]))


async def test_an_unknown_state_cannot_be_stored(file: Path) -> None:
    with pytest.raises(apsw.ConstraintError):
        prepared(file, "update milepost_task set state = 'dreaming'")
