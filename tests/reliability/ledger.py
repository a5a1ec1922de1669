"""Tasks whose effects are rows of a ledger in the same PostgreSQL transaction, and an auditor with SQL of its own.

The auditor reads only the database: what the ledger holds, what became of every task, and what its history says.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection
from datetime import timedelta
from functools import partial
from typing import Any, Final, final

import psycopg
import trio
from attrs import frozen
from psycopg.conninfo import conninfo_to_dict
from returns.result import Result
from returns.result import Success as Done

from milepost import Execution, HistoryKind, Statement, Success, Suspended, TaskResult, TaskState, Transaction, task
from milepost.testing.servers import PostgresServer

CREATE: Final = "create table ledger (line serial primary key, task integer, step integer, pid integer)"
INSERT: Final = "insert into ledger (task, step, pid) values (%s, %s, %s)"
MARCH_STEPS: Final = 60
NAP: Final = timedelta(seconds=0.3)


def fresh_ledger(server: PostgresServer) -> str:
    """A new database with an empty ledger: its URL by TCP."""
    url = server.tcp_url(str(conninfo_to_dict(server.create_database())["dbname"]))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(CREATE)
    return url


@task
async def book(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
    """Write one line together with a commit, and one together with the result."""
    if progress == 0:
        await execution.commit_with(partial(_entry, metadata, 0), 1)
        await trio.sleep(0.005)
    return Success.with_result(metadata).with_effects(Statement(INSERT, (metadata, 1, os.getpid())))


@task
async def march(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
    """Write a line with each of many commits, and say so when the claim is lost meanwhile."""
    try:
        for step in range(progress, MARCH_STEPS):
            await execution.commit_with(partial(_entry, metadata, step), step + 1)
            await trio.sleep(0.01)
    except trio.Cancelled:
        if execution.stopping is not None:
            print(f"stopped: {execution.stopping.kind.value}", flush=True)
        raise
    return Success.with_result(metadata)


@task
async def sit(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
    """End when this process is told to, with a line together with the result."""
    before = nudges.total()
    while nudges.total() == before:  # noqa: ASYNC110 (a signal's handler may do little more than count)
        await trio.sleep(0.01)
    return Success.with_result(metadata).with_effects(Statement(INSERT, (metadata, 0, os.getpid())))


nudges: Final = Counter[int]()
"""The signals that told `sit` to end, by number."""


@task
async def nap(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str, int]:
    """Sleep without a slot, and write a line afterwards."""
    if progress == 0:
        return Suspended.with_execution_metadata(1).for_result(int).for_error(str).after(NAP)
    return Success.with_result(metadata).with_effects(Statement(INSERT, (metadata, 0, os.getpid())))


def _entry(task: int, step: int, transaction: Transaction) -> Result[int, str]:
    transaction.execute(INSERT, (task, step, os.getpid()))
    return Done(step)


@final
@frozen
class Audit:
    """What the database says: tasks by state, lines of history by kind, and what is wrong."""

    states: Counter[str]
    kinds: Counter[str]
    booked: Counter[tuple[int, int]]
    numbers: Counter[int]
    wrong: tuple[str, ...]


_WRONG: Final = {
    "tasks with a counted failure": "select id from milepost.milepost_task where failures <> 0 or epoch <> 1",
    "tasks that still have an owner": "select id from milepost.milepost_task where executor is not null",
    "tasks that ended more or less than once": (
        "select t.id from milepost.milepost_task t left join milepost.milepost_history h "
        "on h.task = t.number and h.state in ('completed', 'failed', 'cancelled') group by 1 having count(h.task) <> 1"
    ),
    "lines of the ledger that are there twice": "select task, step from ledger group by 1, 2 having count(*) <> 1",
    "history that goes backwards": (
        "select a.task from milepost.milepost_history a join milepost.milepost_history b on a.task = b.task "
        "and a.revision < b.revision and a.at > b.at"
    ),
}


def audit(url: str) -> Audit:
    """Look at everything, on a connection of its own."""
    with psycopg.connect(url, autocommit=True) as connection:

        def rows(query: str) -> list[tuple[Any, ...]]:
            return connection.execute(query.encode()).fetchall()

        found = {what: rows(query) for what, query in _WRONG.items()}
        return Audit(
            states=Counter(dict(rows("select state, count(*) from milepost.milepost_task group by 1"))),
            kinds=Counter(dict(rows("select kind, count(*) from milepost.milepost_history group by 1"))),
            booked=Counter(
                {(task, step): n for task, step, n in rows("select task, step, count(*) from ledger group by 1, 2")}
            ),
            numbers=Counter(n for (n,) in rows("select (metadata_json #>> '{}')::int from milepost.milepost_task")),
            wrong=tuple(f"{what}: {seen[:5]} ({len(seen)} in all)" for what, seen in found.items() if seen),
        )


def two_steps(number: int) -> int:
    """How many lines `book` writes."""
    return 2


def assert_booked_once(
    url: str, acknowledged: Collection[int], steps_of: Callable[[int], int], doubtful: Collection[int] = ()
) -> Audit:
    """Every acknowledged task is final once, with each of its effects once; a doubtful one too, or it is not there."""
    seen = audit(url)
    assert not seen.wrong, "\n".join(seen.wrong)
    assert set(acknowledged) <= set(seen.numbers), "acknowledged tasks are not there"
    assert set(seen.numbers) <= {*acknowledged, *doubtful}, "tasks that nobody enqueued"
    assert set(seen.numbers.values()) <= {1}, "tasks that are there twice"
    assert seen.states == {TaskState.COMPLETED.value: len(seen.numbers)}
    assert seen.kinds[HistoryKind.COMPLETED.value] == len(seen.numbers)
    assert seen.booked == {(task, step): 1 for task in seen.numbers for step in range(steps_of(task))}
    return seen
