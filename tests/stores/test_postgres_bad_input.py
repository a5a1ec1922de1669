"""Whatever is wrong with the URL, the server or the schema: one clear line that names it, and never a password."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Generator
from typing import Any

import psycopg
import pytest
import trio

from milepost.errors import (
    ConfigurationError,
    EffectTimeout,
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
from milepost.lifecycle.record import TaskRecord
from milepost.stores.filter import TaskFilter
from milepost.stores.open import connect_store, open_store
from milepost.stores.postgres.faults import fault_of
from milepost.stores.postgres.migrations import SCHEMA_VERSION, migration_sql
from milepost.stores.postgres.opening import check_version
from milepost.stores.postgres.place import place_of
from milepost.stores.protocol import Session
from milepost.testing.conformance.kit import insert, sample
from tests.stores.wire import over_tcp, pooled, refusing_server

pytestmark = pytest.mark.anyio


def with_options(url: str, *options: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{'&'.join(options)}"


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as owner:
        for statement in statements:
            owner.execute(statement.encode())


def ask(statement: str) -> Callable[[Session], list[tuple[Any, ...]]]:
    return lambda session: session.transaction.execute(statement)


@pytest.fixture
def database_url(postgres_server: Any) -> str:
    return str(postgres_server.create_database())


@pytest.fixture
def stranger(database_url: str) -> Generator[str]:
    """A user without any rights."""
    run(database_url, "create role stranger login")
    yield with_options(database_url, "user=stranger")
    run(database_url, "drop owned by stranger", "drop role stranger")


# The URL


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://me:secret@host/tasks?driver=apsw", 'an option "driver" that libpq does not know'),
        ("postgresql://me:secret@host/tasks?milepost_pool=3", "milepost's own are milepost_schema and milepost_conn"),
        ("postgresql://me:secret@host/tasks?milepost_schema=a&milepost_schema=b", "the option milepost_schema twice"),
        ("postgresql://me:secret@host/tasks?milepost_schema=", "a milepost_schema that PostgreSQL cannot have"),
        ("postgresql://me:secret@host/tasks?milepost_schema=pg_mine", "not beginning with pg_"),
        (f"postgresql://me:secret@host/tasks?milepost_schema={'x' * 64}", "1 to 63 bytes"),
        ("postgresql://me:secret@host/tasks?milepost_connections=0", "not from 1 to 100"),
        ("postgresql://me:secret@host/tasks?milepost_connections=many", "not from 1 to 100"),
        ("postgresql://me:secret%zz@host/tasks", "cannot be read.*write special characters as %XX"),
        ("postgresql://me:=secret/@host/tasks", "cannot be read.*write special characters as %XX"),
        ("postgresql://host:secret/tasks", "a port that is no number"),
        ("postgresql://me:=secret#1@host/tasks", "write # in a URL as %23"),
        ("postgresql://me:secret@host/tasks%00", "no NUL at all"),
        ("postgresql:host/tasks", "is not the URL of a store"),
        ("mysql://me:=secret/@host/tasks", "is not the URL of a store"),
    ],
)
async def test_a_url_that_is_not_understood_is_refused_without_telling_secrets(url: str, says: str) -> None:
    with pytest.raises(StoreUrlError, match=says) as refused:
        connect_store(url)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None
    with pytest.raises(StoreUrlError):
        async with open_store(url):
            raise AssertionError("opened")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@host:5/tasks", "postgresql://me@host:5/tasks"),
        (
            "postgres://me:sec@ret@host/tasks?password=secret&sslmode=require",
            "postgres://me@host/tasks?sslmode=require",
        ),
        (
            "postgresql:///tasks?host=/run&milepost_schema=my%20own",
            "postgresql:///tasks?host=/run&milepost_schema=my%20own",
        ),
    ],
)
def test_a_store_shows_its_url_without_secrets(url: str, shown: str) -> None:
    place = place_of(url)
    assert place.url == shown
    assert "secret" not in repr(place)


def test_its_own_options_are_not_given_to_libpq() -> None:
    place = place_of("postgres://host/tasks?milepost_schema=m%C3%BCll&milepost_connections=7&connect_timeout=3")
    assert (place.schema, place.connections) == ("müll", 7)
    assert place.conninfo["connect_timeout"] == "3"
    assert not [name for name in place.conninfo if name.startswith("milepost")]


def test_a_missing_psycopg_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("milepost.stores.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigurationError, match=r"needs psycopg.*pip install 'milepost\[postgres\]'"):
        connect_store("postgresql://me:secret@host/tasks")


# The server


def test_a_server_that_is_not_there_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(StoreUnreachable, match=rf"127\.0\.0\.1:{port}/tasks .*check host, port and network"):
        connect_store(f"postgresql://me:secret@127.0.0.1:{port}/tasks")


def test_a_wrong_password_is_named_and_never_shown() -> None:
    message = 'password authentication failed for user "me"'
    with refusing_server("28P01", message) as port:
        with pytest.raises(StoreUnreachable, match="refused the login; check its user and password") as refused:
            connect_store(f"postgresql://me:secret@127.0.0.1:{port}/tasks")
        assert message in str(refused.value)
        shown: BaseException | None = refused.value
        while shown is not None:
            assert "secret" not in str(shown)
            shown = shown.__cause__ or shown.__context__


def test_a_real_server_refuses_a_wrong_password_without_showing_it(postgres_server: Any) -> None:
    with pytest.raises(StoreUnreachable, match="refused the login; check its user and password") as refused:
        connect_store(f"{over_tcp(postgres_server)}?password=wrong-secret")
    assert "wrong-secret" not in str(refused.value)


def test_a_server_without_connections_left_says_what_to_change() -> None:
    with (
        refusing_server("53300", "sorry, too many clients already") as port,
        pytest.raises(StoreUnreachable, match="has no connection left; raise its limit or lower yours"),
    ):
        connect_store(f"postgresql://me:secret@127.0.0.1:{port}/tasks")


def test_a_missing_database_is_named(postgres_server: Any) -> None:
    with pytest.raises(StoreUnreachable, match=r'no such database; create it first.*"nowhere" does not exist'):
        connect_store(postgres_server.url("nowhere"))


def test_a_server_that_is_too_old_is_refused_with_both_versions() -> None:
    place = place_of("postgresql://host/tasks")
    with pytest.raises(StoreError, match=r"is PostgreSQL 13\.22; milepost needs 14 or newer: upgrade it"):
        check_version(130022, place)
    check_version(140000, place)


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        ("25006", StoreReadOnly, "can only be read"),
        ("53100", StoreFull, "disk is full"),
        ("53200", StoreUnreachable, "has run out of something"),
        ("55P03", StoreBusy, "within lock_timeout"),
        ("57014", StoreBusy, "longer than statement_timeout"),
        ("57P01", StoreUnreachable, "connection to PostgreSQL was lost"),
        ("42P01", SchemaOld, "a table of milepost's is missing"),
        ("42501", StoreUnreachable, "lacks a right; let its owner GRANT it"),
        ("23505", StoreError, "refused a row"),
        ("22003", StoreError, "cannot be stored"),
        ("XX001", StoreDamaged, "damaged; restore it"),
        ("42601", StoreError, r"PostgreSQL: oh no \(42601\)"),
    ],
)
def test_each_code_of_the_server_has_its_meaning(
    database_url: str, code: str, kind: type[StoreError], says: str
) -> None:
    with psycopg.connect(database_url) as connection:
        with pytest.raises(psycopg.Error) as raised:
            connection.execute(
                f"do $$ begin raise exception sqlstate '{code}' using message = 'oh no'; end $$".encode()
            )
        fault = fault_of(raised.value)
    assert type(fault) is kind
    with pytest.raises(kind, match=says):
        raise fault


# The schema


def test_a_user_who_may_not_create_the_schema_is_told_which_grant_is_missing(stranger: str) -> None:
    with pytest.raises(StoreUnreachable, match=r'GRANT CREATE ON DATABASE "[^"]+" TO "stranger"'):
        connect_store(stranger)


async def test_a_schema_that_its_owner_made_needs_no_right_on_the_database(database_url: str, stranger: str) -> None:
    run(database_url, "create schema milepost authorization stranger")
    async with open_store(stranger) as store:
        await insert(store, sample(1))


async def test_what_the_owner_printed_and_ran_makes_the_schema(database_url: str) -> None:
    url = with_options(database_url, "milepost_schema=it%27s%20%22mine%22")
    with pytest.raises(SchemaOld, match="has no tables of milepost, version"):
        connect_store(url, migrate=False)
    run(database_url, migration_sql('it\'s "mine"'))
    async with open_store(url, migrate=False) as store:
        await insert(store, sample(1))
        assert await store.read(lambda session: session.count(TaskFilter())) == 1


async def test_programs_that_migrate_at_once_do_it_once(database_url: str) -> None:
    async def open_one() -> None:
        async with open_store(database_url):
            pass

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(open_one)
    with psycopg.connect(database_url) as owner:
        versions = owner.execute("select version from milepost.milepost_schema order by version").fetchall()
    assert versions == [(number,) for number in range(1, SCHEMA_VERSION + 1)]


def test_a_newer_schema_is_refused_and_not_touched(database_url: str) -> None:
    connect_store(database_url).close()
    run(
        database_url, "insert into milepost.milepost_schema (version) values (999)", "drop table milepost.milepost_task"
    )
    with pytest.raises(SchemaNewer, match=r"version 999.*upgrade milepost, nothing was changed"):
        connect_store(database_url)
    with psycopg.connect(database_url) as owner:
        assert owner.execute("select to_regclass('milepost.milepost_task')").fetchone() == (None,)


def test_without_migrating_nothing_is_made(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_MIGRATE", "0")
    with pytest.raises(SchemaOld, match=r"has no tables of milepost.*open it once with migrate=True"):
        connect_store(database_url)
    with psycopg.connect(database_url) as owner:
        assert owner.execute("select to_regnamespace('milepost')").fetchone() == (None,)


async def test_a_schema_that_was_dropped_under_a_running_store_is_named(database_url: str) -> None:
    async with open_store(database_url) as store:
        run(database_url, "drop schema milepost cascade")
        with pytest.raises(SchemaOld, match="is missing; open the store once with migrate=True"):
            await insert(store, sample(1))
    async with open_store(database_url) as store:
        await insert(store, sample(1))


async def test_two_schemas_of_one_database_are_two_stores(database_url: str) -> None:
    async with (
        open_store(database_url) as first,
        open_store(with_options(database_url, "milepost_schema=" + "%C3%BC" * 31)) as second,
    ):
        await insert(first, sample(1))
        assert await second.read(lambda session: session.count(TaskFilter())) == 0


# Poolers


@pytest.mark.slow
@pytest.mark.parametrize("ignores_options", [False, True], ids=["refuses options", "ignores options"])
async def test_a_pooler_in_transaction_mode_works(postgres_server: Any, ignores_options: bool) -> None:
    settings = ask("select current_setting('statement_timeout'), current_setting('timezone')")
    with pooled(postgres_server.create_database(), ignores_options=ignores_options) as pooler:
        async with open_store(pooler.url("milepost_connections=1")) as store:
            for n in range(20):
                await insert(store, sample(n))
                assert await store.transact(settings) == [("1min", "UTC")]
            assert await store.read(lambda session: session.count(TaskFilter())) == 20
            with pytest.raises(EffectTimeout):
                await store.transact(ask("select pg_sleep(60)"), within_seconds=0.05)
            await insert(store, sample(20))
        assert pooler.switches > 20
        assert bool(pooler.refusals) is not ignores_options


async def test_the_hosts_clock_does_not_count(database_url: str) -> None:
    def wrong() -> Any:
        raise AssertionError("the host's clock was asked")

    async with open_store(database_url, clock=wrong) as store:
        before = await store.transact(lambda session: session.now())
        ((server,),) = await store.transact(ask("select clock_timestamp()"))
        after = await store.transact(lambda session: session.now())
        assert before < server < after


@pytest.mark.parametrize("record", [sample(1, priority=2**70), sample(1, queue="half \ud800"), sample(1, queue="\0")])
async def test_a_value_that_postgresql_cannot_hold_is_refused_with_its_reason(
    database_url: str, record: TaskRecord
) -> None:
    async with open_store(database_url) as store:
        with pytest.raises(StoreError, match="a value cannot be stored"):
            await insert(store, record)
