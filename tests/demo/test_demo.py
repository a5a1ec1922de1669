"""The demo: what it computes, how it takes wrong arguments, and that a killed worker costs nothing."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from milepost import Failure, Statement, Success, Suspended
from milepost.demo.display import Display, Killed, Report
from milepost.demo.index import Indexed, Progress, Shard, Unreadable, index_shard, index_step, library_files, shards_of
from milepost.demo.symbols import CREATE_TABLE, INSERT, rows_of
from milepost.testing import recorded_execution
from milepost.testing.servers import PostgresServer

_SOURCE = b'''"""A module."""

class Outer:
    """Out."""

    class Inner:
        async def method(self):
            def local():
                """Here."""

if True:
    def one(): ...
else:
    def other(): ...

try:
    def tried(): ...
except* ValueError:
    def caught(): ...
finally:
    def last(): ...

match 1:
    case 1:
        def cased(): ...
'''


def test_definitions_are_found_at_any_depth_under_their_qualified_names() -> None:
    assert rows_of("package/some.py", _SOURCE) == [
        ("package/some.py", "module", "package.some", 1, 9),
        ("package/some.py", "class", "Outer", 3, 4),
        ("package/some.py", "class", "Outer.Inner", 6, 0),
        ("package/some.py", "function", "Outer.Inner.method", 7, 0),
        ("package/some.py", "function", "Outer.Inner.method.<locals>.local", 8, 5),
        ("package/some.py", "function", "one", 12, 0),
        ("package/some.py", "function", "other", 14, 0),
        ("package/some.py", "function", "tried", 17, 0),
        ("package/some.py", "function", "caught", 19, 0),
        ("package/some.py", "function", "last", 21, 0),
        ("package/some.py", "function", "cased", 25, 0),
    ]


def test_a_package_is_named_after_its_folder() -> None:
    assert rows_of("a/b/__init__.py", b"") == [("a/b/__init__.py", "module", "a.b", 1, 0)]


@pytest.mark.parametrize("source", [b"x = (\n", b"a\0b", b"# coding: no-such\n"])
def test_a_file_that_does_not_parse_is_one_row(source: bytes) -> None:
    (row,) = rows_of("bad.py", source)
    assert row[:2] == ("bad.py", "error")
    assert [row] == rows_of("bad.py", source)


def test_shards_hold_every_file_once_and_in_order() -> None:
    files = [f"{number}.py" for number in range(19)]
    shards = shards_of(Path("/lib"), files, count=8)
    assert [file for shard in shards for file in shard.files] == files
    assert {len(shard.files) for shard in shards} == {2, 3}
    assert len(shards_of(Path("/lib"), files[:3], count=8)) == 3


def test_the_library_is_listed_without_what_was_installed(tmp_path: Path) -> None:
    for file in ("b.py", "a/c.py", "site-packages/d.py", "a/notes.txt"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("")
    assert library_files(tmp_path) == ["a/c.py", "b.py"]


def test_a_step_says_what_to_write_and_where_to_go_on(shard: Shard) -> None:
    rows = [row for file in shard.files[:5] for row in rows_of(file, b"def f(): ...")]
    assert index_step(shard, Progress()) == Suspended(Progress(5, 10)).at_once().with_effects(
        Statement.many(INSERT, rows)
    )
    assert index_step(shard, Progress(7, 14)) == Success.with_result(Indexed(7, 14))


def test_the_blocking_task_commits_rows_and_progress_together(shard: Shard) -> None:
    execution = recorded_execution(Progress())
    assert index_shard(shard, Progress(), execution.blocking) == Success.with_result(Indexed(7, 14))
    assert execution.commits == [Progress(5, 10), Progress(7, 14)]


def test_a_task_goes_on_from_its_progress(shard: Shard) -> None:
    execution = recorded_execution(Progress(5, 10))
    assert index_shard(shard, Progress(5, 10), execution.blocking) == Success.with_result(Indexed(7, 14))
    assert execution.commits == [Progress(7, 14)]


def test_a_file_that_is_gone_is_a_typed_failure(shard: Shard) -> None:
    (Path(shard.root) / shard.files[5]).unlink()
    gone = Failure.with_error(Unreadable(shard.files[5], "No such file or directory"))
    assert index_step(shard, Progress(5, 10)) == gone
    execution = recorded_execution(Progress())
    assert index_shard(shard, Progress(), execution.blocking) == gone
    assert execution.commits == [Progress(5, 10)]


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    files = tuple(f"m{number}.py" for number in range(7))
    for file in files:
        (tmp_path / file).write_text("def f(): ...")
    return Shard(str(tmp_path), files)


def test_the_table_would_show_a_repeated_row() -> None:
    assert "unique" not in CREATE_TABLE
    assert "primary" not in CREATE_TABLE


def test_a_report_is_whole_only_without_lost_and_repeated_rows() -> None:
    assert _report().is_whole
    assert not _report(rows_lost=1).is_whole
    assert not _report(rows_repeated=1).is_whole
    assert json.loads(_report(rows_lost=1).as_json())["ok"] is False


def _report(*, rows_lost: int = 0, rows_repeated: int = 0) -> Report:
    return Report(
        variant="commit_with",
        seed=1,
        files=2,
        expected_files=2,
        tasks=1,
        symbols=2,
        unparsable=0,
        killed=(Killed(1, 1, (1,), (2,)),),
        rows_lost=rows_lost,
        rows_repeated=rows_repeated,
        seconds=0.1,
    )


def test_colours_are_left_out_where_nobody_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert Display.on(terminal).colored  # type: ignore[arg-type]
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Display.on(terminal).colored  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["--kill-after", "2"], ["--limit", "no"], ["--kills", "-1"], ["--store", "/no/x"]]
)
def test_wrong_arguments_are_told_in_one_line(arguments: list[str]) -> None:
    ended = _demo(*arguments)
    assert ended.returncode == 2
    assert arguments[0] in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("variant", [[], ["--pure"]], ids=["commit_with", "pure steps"])
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_killed_worker_costs_no_row_and_repeats_none(
    kind: str, variant: list[str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store = str(tmp_path / "demo.db") if kind == "sqlite" else request.getfixturevalue("postgres_url")
    ended = _demo("--limit", "60", "--kill-after", "0.5", "--seed", "5", "--store", store, *variant)
    assert (ended.returncode, ended.stderr) == (0, "")
    report = dict(line.split(None, 1) for line in ended.stdout.splitlines() if line[:1].isalpha() and " " in line)
    words = [line.split() for line in ended.stdout.splitlines()]
    assert ["rows", "lost", "0"] in words
    assert ["rows", "repeated", "0"] in words
    assert report["files"].startswith("60 of 60 in 8 tasks")
    assert any(line[-1:] == ["60"] and "killed" in line for line in words)
    with closing(sqlite3.connect(store) if kind == "sqlite" else psycopg.connect(store)) as kept:
        files = kept.execute("select count(distinct file), count(*) from symbol").fetchone()
    assert files == (60, int(report["symbols"].split()[0].replace(",", "")))


@pytest.mark.slow
def test_it_brings_a_postgresql_server_of_its_own() -> None:
    ended = _demo("--limit", "10", "--kills", "0", "--store", "postgres")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert re.search(r"PostgreSQL \d+ started", ended.stdout)
    assert "10 of 10 in 8 tasks" in ended.stdout


@pytest.mark.slow
def test_a_database_that_has_its_table_already_is_left_alone(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute("create table symbol (mine text)")
        ended = _demo("--limit", "10", "--store", postgres_url)
        assert owner.execute("select count(*) from symbol").fetchone() == (0,)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "without a table named symbol" in ended.stderr


@pytest.mark.slow
def test_a_database_that_cannot_be_used_is_told_in_one_line_without_its_password(
    postgres_server: PostgresServer,
) -> None:
    ended = _demo(
        "--limit", "10", "--store", postgres_server.tcp_url("nowhere").replace("postgres:", "postgres:sesame", 1)
    )
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert ended.stderr.startswith("the demo cannot go on: ")
    assert "sesame" not in ended.stderr + ended.stdout


def _demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "milepost.demo", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
