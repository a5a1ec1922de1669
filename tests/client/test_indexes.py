"""Searches go by the indexes that they are meant to: by progress those that the page about steering tasks advises."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import apsw
import psycopg
import pytest
from attrs import frozen

from milepost import Client, Store, Suspended, TaskQuery, TaskResult, TaskState, open_store, task
from milepost.payload import JsonText
from milepost.stores.filter import TaskFilter, TaskOrder
from milepost.stores.postgres import filters as postgres_filters
from milepost.stores.postgres.statements import formed
from milepost.stores.proceed import live_of
from milepost.stores.protocol import Session
from milepost.stores.sqlite import filters as sqlite_filters
from milepost.testing.conformance.kit import numbers, sample, task_id
from tests.database import store_url

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "steer-tasks.md"
TASKS = 3_000


@frozen
class Waiting:
    operation: str = ""


@task(name="send")
def send(metadata: dict[str, int], waiting: Waiting) -> TaskResult[str, str, Waiting]:
    return Suspended(waiting)


def _advised(word: str) -> list[str]:
    """The statements of the page's block in which `word` stands."""
    (block,) = (each for each in re.findall(r"```sql\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL) if word in each)
    return [statement.strip() for statement in block.split(";") if statement.strip()]


def _queries(n: int) -> list[TaskQuery[Any]]:
    waits = TaskQuery.for_task(send).with_execution_metadata(Waiting(f"op-{n}"))
    return [waits, waits.with_state(TaskState.SUSPENDED), TaskQuery().with_execution_metadata(operation=f"op-{n}")]


async def _filled(store: Store) -> None:
    def insert(session: Session) -> None:
        for n in range(TASKS):
            waiting = JsonText(f'{{"operation":"op-{n}"}}')
            session.insert([sample(n, state=TaskState.SUSPENDED, due_at=None, execution_metadata_json=waiting)])

    await store.transact(insert)


async def _found(store: Store) -> None:
    for query in _queries(77):
        assert numbers((await Client(store).search(query)).records) == [77]


@pytest.mark.parametrize("analysed", [False, True])
async def test_sqlite_finds_a_task_by_its_progress_in_the_advised_index(tmp_path: Path, analysed: bool) -> None:
    (statement,) = _advised("json_extract")
    async with open_store(f"sqlite:///{tmp_path / 'tasks.db'}") as store:
        await _filled(store)
        connection: Any = apsw.Connection(str(tmp_path / "tasks.db"))
        sqlite_filters.define_functions(_Defining(connection))  # type: ignore[arg-type]
        connection.execute(statement)
        if analysed:
            connection.execute("analyze")
        for query in _queries(77):
            for wanted in (query.filter, live_of(query.filter)):
                sql, parameters = sqlite_filters.search_of(wanted, 10)
                plan = [row[3] for row in connection.execute(f"explain query plan {sql}", parameters)]
                assert "SEARCH milepost_task USING INDEX waiting_operation (<expr>=?)" in plan, plan
        connection.close()
        await _found(store)


async def test_postgresql_finds_a_task_by_its_progress_in_the_advised_index(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = store_url("postgres", request, tmp_path)
    async with open_store(url) as store:
        await _filled(store)
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in _advised("jsonb_path_ops"):
                connection.execute(statement.encode())
            cursor = psycopg.RawCursor(connection)
            for query in _queries(77):
                for wanted in (query.filter, live_of(query.filter)):
                    sql, parameters = postgres_filters.search_of(wanted, 10)
                    cursor.execute(b"explain " + formed(sql, "milepost"), parameters)
                    plan = "\n".join(row[0] for row in cursor.fetchall())
                    assert "Bitmap Index Scan on task_progress" in plan, plan
        await _found(store)


async def test_postgresql_plans_a_search_of_payloads_by_the_values_that_it_has(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    def prepared(session: Session) -> list[str]:
        for n in range(10):
            for query in _queries(n):
                session.search(query.filter, limit=10)
                session.count(query.filter)
        return [text for (text,) in session.transaction.execute("select statement from pg_prepared_statements")]

    async with open_store(store_url("postgres", request, tmp_path)) as store:
        statements = await store.read(prepared)
    assert [text for text in statements if "@>" in text] == []


def _tied(session: Session) -> None:
    for n in range(TASKS):
        parent, schedule = task_id(n % 300), f"s{n % 300}"
        session.insert([sample(n, parent=parent, parent_position=f"1.1.{n}", schedule=schedule)])


TIED = {
    "milepost_task_parent": TaskFilter(parents=(task_id(7),)),
    "milepost_task_scheduled": TaskFilter(schedules=("s7",), order=TaskOrder.NEWEST_FIRST),
}
SEVERAL_TIED = {
    "milepost_task_parent": TaskFilter(parents=(task_id(7), task_id(8))),
    "milepost_task_scheduled": TaskFilter(schedules=("s7", "s8")),
}


@pytest.mark.parametrize("analysed", [False, True])
async def test_sqlite_finds_what_a_task_or_a_schedule_has_enqueued_in_an_index(tmp_path: Path, analysed: bool) -> None:
    async with open_store(f"sqlite:///{tmp_path / 'tasks.db'}") as store:
        await store.transact(_tied)
        connection: Any = apsw.Connection(str(tmp_path / "tasks.db"))
        if analysed:
            connection.execute("analyze")
        for index, wanted in (*TIED.items(), *SEVERAL_TIED.items()):
            sql, parameters = sqlite_filters.search_of(wanted, 10)
            plan = [row[3] for row in connection.execute(f"explain query plan {sql}", parameters)]
            assert any(step.startswith(f"SEARCH milepost_task USING INDEX {index} (") for step in plan), plan
        connection.close()


async def test_postgresql_finds_what_a_task_or_a_schedule_has_enqueued_in_an_index(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = store_url("postgres", request, tmp_path)
    async with open_store(url) as store:
        await store.transact(_tied)
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = psycopg.RawCursor(connection)
            connection.execute("analyze milepost.milepost_task")
            for index, wanted in (*TIED.items(), *SEVERAL_TIED.items()):
                sql, parameters = postgres_filters.search_of(wanted, 10)
                cursor.execute(b"explain " + formed(sql, "milepost"), parameters)
                plan = "\n".join(row[0] for row in cursor.fetchall())
                assert index in plan, plan


class _Defining:
    """What `define_functions` needs of a connection."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def define(self, name: str, arguments: int, function: Any) -> None:
        """Make a function known to SQL."""
        self._connection.create_scalar_function(name, function, arguments, deterministic=True)
