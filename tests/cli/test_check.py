"""`milepost check`: what it prints, how it ends, and that the right to read is all that it needs."""

from __future__ import annotations

import importlib
import json
import sqlite3
import sys
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from textwrap import dedent

import psycopg
import pytest

from milepost.cli.app import run
from milepost.stores.open import connect_store
from milepost.testing.conformance.kit import sample
from tests.database import store_url

APP = """
from attrs import field, frozen
from milepost import Empty, Success, TaskResult, secret, task

@frozen
class Pay:
    {fields}

@task(name="pay")
def pay(metadata: Pay, progress: Empty) -> TaskResult[Empty, Empty]:
    return Success(Empty())

tasks = [pay]
"""
ROWS = 4


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # two versions of a file may be of one second and one size
    for variable in ("MILEPOST_APP", "MILEPOST_STORE", "MILEPOST_MIGRATE"):
        monkeypatch.delenv(variable, raising=False)
    yield tmp_path
    sys.modules.pop("payments", None)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store with payments of an older program."""
    url = store_url(request.param, request, tmp_path)
    store = connect_store(url)
    rows = [sample(n, name="pay", metadata_json='{"amount":5,"card":"4711"}') for n in range(ROWS)]
    store.transact_blocking(lambda session: session.insert(rows))
    store.close()
    return url


def checked(url: str, fields: str, *options: str) -> int:
    """How a check ends with these fields in the class."""
    Path("payments.py").write_text(dedent(APP).format(fields=fields.replace("; ", "\n    ")))
    sys.modules.pop("payments", None)
    importlib.invalidate_caches()
    return run(["check", "--app", "payments:tasks", "--store", url, *options])


def test_a_clean_change_ends_with_0(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert checked(url, "amount: int; card: str; note: str = ''") == 0
    assert capsys.readouterr().out == "4 tasks looked at: all that this program has tasks for can be read\n"


@pytest.mark.parametrize(
    ("fields", "field", "problem"),
    [
        ("amount: int; number: str", "$", "lacks the field 'number', and has fields that Pay does not know: card"),
        ("amount: int; card: int", "$.card", "expected int, got str"),
        ("amount: int; card: str; currency: str", "$", "lacks the field 'currency'"),
    ],
)
def test_a_finding_ends_with_1_and_names_task_field_and_count(
    url: str, capsys: pytest.CaptureFixture[str], fields: str, field: str, problem: str
) -> None:
    assert checked(url, fields) == 1
    said = capsys.readouterr()
    (row,) = [line.split("  ") for line in said.out.splitlines() if line.startswith("pay ")]
    cells = [cell.strip() for cell in row if cell.strip()]
    assert cells[:6] == ["pay", "1", "metadata", field, problem, str(ROWS)]
    assert said.err == ""


def test_as_json_it_is_one_object(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert checked(url, "amount: int; card: int", "--json") == 1
    said = json.loads(capsys.readouterr().out)
    (found,) = said["incompatible"]
    assert (said["is_clean"], said["checked"], said["newer"], said["unknown"]) == (False, ROWS, [], [])
    assert (found["task"], found["field"], found["count"], len(found["example_ids"])) == ("pay", "$.card", ROWS, 3)


def test_a_name_that_no_task_has_is_a_finding_unless_the_store_is_shared(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = connect_store(url)
    store.transact_blocking(lambda session: session.insert([sample(9, name="send-mail")]))
    store.close()
    fields = "amount: int; card: str"
    assert checked(url, fields) == 1
    assert "send-mail" in capsys.readouterr().out
    assert checked(url, fields, "--shared") == 0
    assert "send-mail" in capsys.readouterr().out


def test_no_secret_is_printed(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    for options in ((), ("--json",)):
        assert checked(url, "amount: int; card: int = field(repr=secret)", *options) == 1
        said = capsys.readouterr().out
        assert "$.card" in said
        assert "4711" not in said


def test_the_right_to_read_a_file_is_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path / 'tasks.db'}"
    store = connect_store(url)
    store.transact_blocking(lambda session: session.insert([sample(1, name="pay", metadata_json='{"amount":5}')]))
    store.close()
    before = (tmp_path / "tasks.db").read_bytes()
    with closing(sqlite3.connect(tmp_path / "tasks.db")) as other:
        other.execute("begin immediate")  # nobody else can write now
        assert checked(f"{url}?mode=ro", "amount: int") == 0
        assert checked(url, "amount: int") == 0
    assert (tmp_path / "tasks.db").read_bytes() == before


def test_the_right_to_select_is_enough_on_a_server(postgres_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    store = connect_store(postgres_url)
    store.transact_blocking(lambda session: session.insert([sample(1, name="pay", metadata_json='{"amount":5}')]))
    store.close()
    as_reader = "postgresql://reader@" + postgres_url.partition("@")[2]
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute("create role reader login")
        try:
            owner.execute("grant usage on schema milepost to reader")
            owner.execute("grant select on all tables in schema milepost to reader")
            assert checked(as_reader, "amount: int") == 0
            assert checked(as_reader, "amount: str") == 1
            read_only = f"{as_reader}{'&' if '?' in as_reader else '?'}options=-c%20default_transaction_read_only%3Don"
            assert checked(read_only, "amount: int") == 0
        finally:
            owner.execute("drop owned by reader")
            owner.execute("drop role reader")


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_store_without_a_schema_is_5_and_none_is_made(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert checked(store_url(kind, request, tmp_path), "amount: int") == 5
    assert capsys.readouterr().err.startswith("milepost: ")
    assert not (tmp_path / "tasks.db").exists()


def test_a_server_that_is_not_there_is_5(capsys: pytest.CaptureFixture[str]) -> None:
    assert checked("postgresql://me:s3cret@127.0.0.1:1/tasks?connect_timeout=1", "amount: int") == 5
    assert "s3cret" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--app", "payments:nothing", "--store", "sqlite:///tasks.db"), "has no 'nothing'"),
        (("--app", "payments:tasks", "--store", "memory:"), "a store in memory"),
        (("--app", "payments:tasks", "--store", "nonsense"), "is not the URL of a store"),
        (("--store", "sqlite:///tasks.db"), "no app is named"),
    ],
)
def test_a_wrong_call_is_2(arguments: tuple[str, ...], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("payments.py").write_text(dedent(APP).format(fields="amount: int"))
    assert run(["check", *arguments]) == 2
    assert why in capsys.readouterr().err
