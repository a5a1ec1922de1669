"""The commands that look after a store, called in this process: what they print, and how they end."""

from __future__ import annotations

import importlib.util
import json
import sqlite3
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from milepost import BlockingClient, TaskQuery
from milepost.cli import main
from milepost.cli.app import run
from milepost.stores.open import connect_store
from milepost.stores.protocol import Session
from milepost.stores.sqlite.migrations import SCHEMA_VERSION
from milepost.testing.conformance.kit import NOW, sample_lease
from tests.stores.test_copy import furnish


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for variable in ("MILEPOST_APP", "MILEPOST_STORE", "MILEPOST_MIGRATE"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.fixture
def url(folder: Path) -> str:
    """A store with a few tasks."""
    url = f"sqlite:///{folder / 'tasks.db'}"
    store = connect_store(url)
    furnish(store)
    store.close()
    return url


def announce(url: str, *executors: str, until: timedelta = timedelta(hours=1)) -> None:
    def opened(session: Session) -> None:
        for executor in executors:
            session.open_lease(sample_lease(executor, session.now() + until))

    store = connect_store(url)
    store.transact_blocking(opened)
    store.close()


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """What a command prints; what goes wrong is one line, which begins with the program's name."""
    assert run(arguments) == code
    captured = capsys.readouterr()
    if code and captured.err:
        assert captured.err.startswith("milepost: ")
        assert captured.err.count("\n") == 1
    return captured.out if code == 0 else captured.out + captured.err


# The schema


def test_migrate_makes_the_schema_and_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        said(capsys, "db", "migrate", "--store", "sqlite:///new.db")
        == f"sqlite:///new.db: schema version 0 -> {SCHEMA_VERSION}\n"
    )
    assert said(capsys, "db", "migrate", "--store", "sqlite:///new.db").endswith(
        f"schema version {SCHEMA_VERSION} is current\n"
    )
    connect_store("sqlite:///new.db", migrate=False).close()


def test_migrate_migrates_though_the_environment_forbids_it_to_others(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILEPOST_MIGRATE", "0")
    said(capsys, "db", "migrate", "--store", "sqlite:///new.db")
    assert f"version {SCHEMA_VERSION}, current" in said(capsys, "db", "status", "--store", "sqlite:///new.db")


def test_the_printed_script_makes_the_schema_by_hand_and_printing_changes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = said(capsys, "db", "migrate", "--print", "--store", "sqlite:///new.db")
    assert not (folder / "new.db").exists()
    connection = sqlite3.connect("new.db", isolation_level=None)
    connection.executescript(script)
    connection.close()
    assert f"version {SCHEMA_VERSION}, current" in said(capsys, "db", "status", "--store", "sqlite:///new.db")
    assert said(capsys, "db", "migrate", "--print", "--store", "sqlite:///new.db") == ""


def test_a_server_is_migrated_by_hand_or_by_the_command(postgres_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"version {SCHEMA_VERSION} is needed" in said(capsys, "db", "status", "--store", postgres_url, code=5)
    assert "create table" in said(capsys, "db", "migrate", "--print", "--store", postgres_url)
    assert f"version {SCHEMA_VERSION} is needed" in said(capsys, "db", "status", "--store", postgres_url, code=5)
    assert f"schema version 0 -> {SCHEMA_VERSION}" in said(capsys, "db", "migrate", "--store", postgres_url)
    assert f"version {SCHEMA_VERSION}, current" in said(capsys, "db", "status", "--store", postgres_url)
    assert said(capsys, "executor", "list", "--store", postgres_url) == "no executors\n"


def test_a_password_is_never_shown(capsys: pytest.CaptureFixture[str]) -> None:
    secret = "postgresql://me:s3cret@127.0.0.1:1/tasks?connect_timeout=1"
    for command in (("db", "status"), ("db", "migrate"), ("executor", "list")):
        shown = said(capsys, *command, "--store", secret, code=5)
        assert "127.0.0.1" in shown
        assert "s3cret" not in shown


def test_status_tells_the_schema_the_tasks_and_the_executors(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    announce(url, "ada", "bob")
    announce(url, "cid", until=-timedelta(seconds=1))
    shown = said(capsys, "db", "status", "--store", url)
    assert f"version {SCHEMA_VERSION}, current" in shown
    assert "3 pending, 1 running, 1 completed" in shown
    assert "2 alive" in shown
    parts = json.loads(said(capsys, "db", "status", "--json", "--store", url))
    assert (parts["version"], parts["newest"], parts["executors"]) == (SCHEMA_VERSION, SCHEMA_VERSION, 2)
    assert (parts["tasks"]["pending"], parts["tasks"]["failed"]) == (3, 0)


def test_status_of_a_store_without_tables_is_5_and_makes_none(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(capsys, "db", "status", "--store", "sqlite:///new.db", code=5)
    assert f"version {SCHEMA_VERSION} is needed: run `milepost db migrate`" in shown
    assert not (folder / "new.db").exists()


def test_status_of_a_newer_schema_is_5(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    connection = sqlite3.connect("tasks.db")
    connection.execute("insert into milepost_schema values (99, 0)")
    connection.commit()
    connection.close()
    assert "made by a newer milepost" in said(capsys, "db", "status", "--store", url, code=5)
    assert "upgrade milepost" in said(capsys, "db", "migrate", "--store", url, code=5)


# Copying


def test_copy_moves_everything_and_tells_the_sums(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(capsys, "db", "copy", url, "sqlite:///other.db")
    assert "copied 5 tasks, 3 lines of history and 1 log lines from" in shown
    assert shown.count("sha256:") == 3
    with BlockingClient.connect("sqlite:///other.db", migrate=False) as copied, BlockingClient.connect(url) as source:
        assert copied.search(TaskQuery()).records == source.search(TaskQuery()).records


def test_copy_goes_to_a_server_and_back(url: str, postgres_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    there = said(capsys, "db", "copy", url, postgres_url)
    back = said(capsys, "db", "copy", postgres_url, "sqlite:///back.db")
    assert [line for line in there.splitlines() if "sha256" in line] == back.splitlines()[1:]
    assert "3 pending, 1 running, 1 completed" in said(capsys, "db", "status", "--store", postgres_url)


@pytest.mark.parametrize("side", ["source", "target"])
def test_copy_is_refused_while_an_executor_is_alive(url: str, capsys: pytest.CaptureFixture[str], side: str) -> None:
    announce(url if side == "source" else "sqlite:///other.db", "ada")
    assert "ada on host" in said(capsys, "db", "copy", url, "sqlite:///other.db", code=4)


def test_copy_into_a_store_with_tasks_is_refused(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "db", "copy", url, "sqlite:///other.db")
    assert "has tasks already" in said(capsys, "db", "copy", url, "sqlite:///other.db", code=4)


def test_copy_of_a_store_that_is_not_there_makes_none(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "db", "copy", "sqlite:///absent.db", "sqlite:///other.db", code=5)
    assert not (folder / "absent.db").exists()


# Executors


def test_executors_are_listed_for_people(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "executor", "list", "--store", url) == "no executors\n"
    announce(url, "ada")
    announce(url, "bob", until=-timedelta(seconds=1))
    heading, *rows = said(capsys, "executor", "list", "--store", url).splitlines()
    assert heading.split() == ["ID", "HOST", "PID", "UP", "SEEN", "STATE", "RUNNING", "TASKS", "QUEUES"]
    assert sorted(row.split()[0] for row in rows) == ["ada", "bob"]
    assert {row.split()[0]: ("expired" in row) for row in rows} == {"ada": False, "bob": True}
    assert all("0/10" in row and "send@1" in row and "all" in row for row in rows)


def test_executors_are_listed_for_programs(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    announce(url, "ada")
    (ada,) = json.loads(said(capsys, "executor", "list", "--json", "--store", url))
    assert (ada["id"], ada["is_alive"], ada["slots"], ada["running"]) == ("ada", True, 10, 0)
    assert (ada["tasks"], ada["queues"], ada["host"], ada["pid"]) == ({"send": 1}, None, "host", 1)
    assert datetime.fromisoformat(ada["started_at"]) == NOW - timedelta(hours=1)


# Bad input


def test_without_the_extra_the_program_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(name: str) -> None:
        """No such package."""

    monkeypatch.setattr(importlib.util, "find_spec", nowhere)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "milepost: the command line needs cyclopts: pip install 'milepost[cli]'\n"


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("nothing", 2, "Unknown command"),
        ("run --frobnicate", 2, "--frobnicate"),
        ("run --processes", 2, "--processes"),
        ("run --app a:b --store sqlite:///t.db --processes many", 2, "--processes"),
        ("run --app a:b --store sqlite:///t.db --processes 0", 2, "--processes must be from 1 to 1000, got 0"),
        ("run --app a:b --store sqlite:///t.db --processes 1001", 2, "--processes must be from 1 to 1000"),
        ("run --app a:b --store sqlite:///t.db --concurrency 0", 2, "--concurrency must be a whole number from 1"),
        ("run --app a:b --store sqlite:///t.db --lease-seconds nan", 2, "--lease-seconds must be above 0"),
        ("run --app a:b --store sqlite:///t.db --drain-seconds -1", 2, "--drain-seconds must be 0 or more"),
        ("run --app a:b --store sqlite:///t.db --start-seconds inf", 2, "--start-seconds must be above 0"),
        ("run --app a:b --store sqlite:///t.db --queue bulk=ten", 2, "is neither NAME nor NAME=LIMIT"),
        ("run --app a:b --store sqlite:///t.db --queue bulk=0", 2, "must be a whole number from 1"),
        ("run --app a:b --store sqlite:///t.db --queue a --queue a=2", 2, "is given twice"),
        ("run --app a:b --store memory:", 2, "would be a store of its own for each process"),
        ("run --app a:b --store nowhere", 2, "is not the URL of a store"),
        ("run --app a:b --store sqlite:///t.db?mode=wo", 2, "neither ro nor rw"),
        ("run --app a --store sqlite:///t.db", 2, "is not of the form package.module:tasks"),
        ("run --store sqlite:///t.db", 2, "no app is named"),
        ("run --app a:b", 2, "no store is named"),
        ("db status", 2, "no store is named"),
        ("db status --store memory:", 2, "a store in memory has no schema"),
        ("db migrate --store memory:", 2, "a store in memory has no schema"),
        ("db migrate --store sqlite:///", 2, "names no file"),
        ("db migrate --store sqlite:///nowhere/t.db", 5, "there is no folder"),
        ("db copy sqlite:///a.db", 2, "TO"),
        ("db copy sqlite:///a.db memory:", 2, "a store in memory ends with this program"),
        ("db copy sqlite:///a.db sqlite:///b.db sqlite:///c.db", 2, "c.db"),
        ("executor list --store sqlite:///nowhere.db", 5, "run `milepost db migrate`"),
        ("executor list --store foo://secret:word@host/x", 2, "is not the URL of a store"),
    ],
)
def test_bad_input_is_told_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], line: str, code: int, message: str
) -> None:
    shown = said(capsys, *line.split(), code=code)
    assert message in shown
    assert "secret" not in shown
    assert list(folder.iterdir()) == []


def test_the_store_may_be_named_in_the_environment(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILEPOST_STORE", url)
    assert url in said(capsys, "db", "status")


def test_a_file_that_is_no_database_is_5(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "notes.db").write_text("not a database, and long enough to be looked at as if it were one" * 20)
    assert "notes.db" in said(capsys, "db", "status", "--store", "sqlite:///notes.db", code=5)
