"""What the migrations make of a file is what `schema.sql` says, and records go through it whole."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import apsw
import attrs
import psycopg
import pytest

from milepost.crash import Crash, CrashKind
from milepost.lifecycle.record import Audit, TaskId, TaskRecord
from milepost.lifecycle.states import LimitKind, TaskState
from milepost.lifecycle.ties import Join, Tie
from milepost.payload import JsonText
from milepost.stores.open import connect_store
from milepost.stores.sqlite.migrations import SCHEMA_VERSION
from milepost.testing.conformance.kit import NOW, sample

DRIVERS = ("apsw", "sqlite3")
HEADER = "-- What the migrations make of an empty file. Committed to be read and compared, never executed.\n\n"
OPENERS = 8


def migrated(file: Path, driver: str) -> str:
    connect_store(f"sqlite:///{file}?driver={driver}").close()
    with sqlite3.connect(file) as connection:
        rows = connection.execute("select sql from sqlite_master where sql is not null order by type desc, name")
        text = ";\n\n".join(sql for (sql,) in rows)
    connection.close()
    return f"{HEADER}{text};\n"


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_migrated_schema_is_the_committed_one(tmp_path: Path, driver: str) -> None:
    committed = (files("milepost.stores.sqlite") / "schema.sql").read_text("utf-8")
    assert migrated(tmp_path / "tasks.db", driver) == committed


def test_everything_in_the_file_is_named_after_milepost(tmp_path: Path) -> None:
    migrated(tmp_path / "tasks.db", "apsw")
    connection: Any = apsw.Connection(str(tmp_path / "tasks.db"))
    names = [name for (name,) in connection.execute("select name from sqlite_master")]
    connection.close()
    assert all(name.startswith(("milepost_", "sqlite_autoindex_milepost_")) for name in names)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_record_with_every_field_set_comes_back_as_it_was(tmp_path: Path, driver: str) -> None:
    when = datetime(2031, 2, 3, 4, 5, 6, 789_012, tzinfo=UTC)
    moments = (when + timedelta(microseconds=n) for n in range(100))
    whole = TaskRecord(
        id=TaskId("whole"),
        name="send",
        version=2,
        queue="mail",
        priority=-3,
        key="k'; drop table milepost_task; --",
        correlation="order 7",
        audit=Audit.FULL,
        state=TaskState.RUNNING,
        due_at=next(moments),
        metadata_json=JsonText('{"ü":"✉"}'),
        execution_metadata_json=JsonText("[1]"),
        initial_execution_metadata_json=JsonText("[2]"),
        result_json=JsonText("3"),
        error_json=JsonText("4"),
        crash=Crash(CrashKind.TIMEOUT, "message", "TypeName", "traceback"),
        fence=5,
        token="token",
        executor="ada",
        revision=6,
        sequence=7,
        epoch=8,
        failures=9,
        stalls=10,
        interruptions=11,
        cancel_requested_at=next(moments),
        cancel_reason="enough",
        progress=0.25,
        progress_note="a quarter",
        deadline_seconds=12.5,
        deadline_at=next(moments),
        created_at=next(moments),
        started_at=next(moments),
        early_proceed_at=next(moments),
        start_by=next(moments),
        rate_key="rate",
        concurrency_key="share",
        limited_by=LimitKind.RATE,
        slot_at=next(moments),
        parent=TaskId("above"),
        parent_position="1.7.1",
        schedule="nightly",
        schedule_at=next(moments),
        ties=Tie.AWAITED | Tie.HOOKED,
        join=Join.ALL_SUCCEEDED,
        awaited_event="paid",
        awaited_key="order 7",
        received_json=JsonText("5"),
    )
    usual = attrs.asdict(TaskRecord(id=whole.id, name="send", created_at=NOW), recurse=False)
    unset = [name for name, value in usual.items() if getattr(whole, name) == value]
    assert unset == ["id", "name", "finished_at"]
    ended = attrs.evolve(
        whole,
        id=TaskId("ended"),
        state=TaskState.FAILED,
        executor=None,
        due_at=None,
        finished_at=next(moments),
        parent_position="1.7.2",
        schedule_at=next(moments),
    )
    store = connect_store(f"sqlite:///{tmp_path}/tasks.db?driver={driver}")
    store.transact_blocking(lambda session: session.insert([whole, ended]))
    assert store.read_blocking(lambda session: session.get([whole.id, ended.id])) == [whole, ended]
    store.close()


def _open(path: str, driver: str, start: threading.Barrier, n: int) -> None:
    start.wait()
    store = connect_store(f"sqlite:///{path}?driver={driver}")
    store.transact_blocking(lambda session: session.insert([sample(n)]))
    store.close()


def _state_of(file: Path) -> tuple[list[tuple[int]], int]:
    connection = sqlite3.connect(file)
    versions = connection.execute("select version from milepost_schema").fetchall()
    ((tasks,),) = connection.execute("select count(*) from milepost_task")
    connection.close()
    return versions, tasks


@pytest.mark.parametrize("driver", DRIVERS)
def test_threads_that_open_a_new_file_at_once_make_one_schema(tmp_path: Path, driver: str) -> None:
    file = tmp_path / "tasks.db"
    start = threading.Barrier(OPENERS)
    threads = [threading.Thread(target=_open, args=(str(file), driver, start, n)) for n in range(OPENERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _state_of(file) == ([(n,) for n in range(1, SCHEMA_VERSION + 1)], OPENERS)


@pytest.mark.slow
@pytest.mark.parametrize("driver", DRIVERS)
def test_processes_that_open_a_new_file_at_once_make_one_schema(tmp_path: Path, driver: str) -> None:
    file = tmp_path / "tasks.db"
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(OPENERS)
    processes = [context.Process(target=_open, args=(str(file), driver, start, n)) for n in range(OPENERS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * OPENERS
    assert _state_of(file) == ([(n,) for n in range(1, SCHEMA_VERSION + 1)], OPENERS)


POSTGRES_HEADER = "-- What the migrations make of an empty schema. Committed to be read and compared, never executed.\n"
TABLES = """select c.oid, c.relname, coalesce(array_to_string(c.reloptions, ', '), '')
from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
where n.nspname = %s and c.relkind = 'r' order by c.relname"""
COLUMNS = """select a.attname, format_type(a.atttypid, a.atttypmod),
  case when l.collname <> 'default' then format(' collate %%I', l.collname) else '' end,
  case when a.attnotnull then ' not null' else '' end,
  case when a.attidentity = 'a' then ' generated always as identity' else '' end,
  coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
from pg_attribute as a
left join pg_collation as l on l.oid = a.attcollation
left join pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attrelid = %s and a.attnum > 0 and not a.attisdropped order by a.attnum"""
CONSTRAINTS = """select conname, pg_get_constraintdef(oid) from pg_constraint
where conrelid = %s and contype in ('p', 'u', 'c', 'f') order by conname"""
INDEXES = """select replace(pg_get_indexdef(i.indexrelid), ' ON ' || n.nspname || '.', ' ON ')
from pg_index as i join pg_class as c on c.oid = i.indexrelid join pg_namespace as n on n.oid = c.relnamespace
where i.indrelid = %s and not i.indisprimary order by c.relname"""


def migrated_postgres(url: str) -> str:
    connect_store(url).close()
    with psycopg.connect(url) as connection:
        tables = connection.execute(TABLES, ["milepost"]).fetchall()
        return POSTGRES_HEADER + "".join(_table(connection, *table) for table in tables)


def _table(connection: psycopg.Connection, oid: int, name: str, options: str) -> str:
    columns = connection.execute(COLUMNS, [oid]).fetchall()
    constraints = connection.execute(CONSTRAINTS, [oid]).fetchall()
    lines = [f"{column} {''.join(rest)}" for column, *rest in columns]
    lines += [f"constraint {constraint} {text}" for constraint, text in constraints]
    indexes = "".join(f"\n{text};\n" for (text,) in connection.execute(INDEXES, [oid]))
    body = ",\n  ".join(lines)
    return f"\ncreate table {name} (\n  {body}\n){f' with ({options})' if options else ''};\n{indexes}"


def test_the_schema_that_is_migrated_on_postgres_is_the_committed_one(each_postgres_url: str) -> None:
    committed = (files("milepost.stores.postgres") / "schema.sql").read_text("utf-8")
    assert migrated_postgres(each_postgres_url) == committed
