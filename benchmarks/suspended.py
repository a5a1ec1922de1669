"""What tasks cost that wait to be proceeded: how long one is looked for, by its progress, and how much memory."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from statistics import median
from typing import Final

import trio
from attrs import evolve, frozen

from benchmarks.end_to_end import Metadata, no_op
from benchmarks.ground import Ground
from milepost import Client, Empty, Store, Suspended, TaskQuery, TaskResult, TaskState, open_store, task
from milepost.ids import new_id
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.payload import JsonText
from milepost.stores.protocol import Session

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
_PORTION: Final = 10_000

# As docs/how-to/steer-tasks.md has them.
INDEXES: Final = {
    "sqlite": """create index waiting_operation on milepost_task (
        iif(json_valid(execution_metadata_json), json_extract(execution_metadata_json, '$.operation'), null), id)""",
    "postgresql": """create index task_progress on milepost.milepost_task
        using gin ((execution_metadata_json::jsonb) jsonb_path_ops); analyze milepost.milepost_task""",
}


@frozen
class Waiting:
    """What the tasks wait for."""

    operation: str = ""
    approved: bool = False


@task(name="approve")
def approve(metadata: Empty, waiting: Waiting) -> TaskResult[Empty, Empty, Waiting]:
    """Never called here."""
    return Suspended(waiting)


async def fill(store: Store, suspended: int, completed: int) -> None:
    """Tasks that wait, each for an operation of its own, and as many as there may be of ended ones."""
    for start in range(0, suspended + completed, _PORTION):
        numbers = range(start, min(start + _PORTION, suspended + completed))
        await store.transact(partial(_insert, list(_records(numbers, suspended))))


async def proceed_seconds(store: Store, numbers: range, suspended: int) -> list[float]:
    """How long each proceed took, of tasks with these numbers, known by a value in their execution metadata."""
    client = Client(store)
    seconds: list[float] = []
    for n in numbers:
        operation = f"op-{n * 7_919 % suspended}"
        query = TaskQuery.for_task(approve).with_execution_metadata(operation=operation)
        # Both ways of asking: for whatever lives, and for what waits.
        query = query.with_state(TaskState.SUSPENDED) if n % 2 else query
        begin = time.perf_counter()
        answer = await client.proceed(query, modify=_approved)
        seconds.append(time.perf_counter() - begin)
        if answer.unwrap().execution_metadata != {"operation": operation, "approved": True}:
            raise AssertionError(f"proceeded another task than the one of {operation}")
    return seconds


async def create_index(store: Store) -> float:
    """Make the index that the documentation advises; how many seconds that took."""
    begin = time.perf_counter()
    for statement in INDEXES[store.url.partition(":")[0]].split(";"):
        await store.transact(partial(_execute, statement))
    return time.perf_counter() - begin


async def worker_mebibytes(ground: Ground, suspended: int, tasks: int) -> float:
    """The peak of a fresh worker that runs so many no-ops in a store with so many suspended tasks of its own name."""
    url = ground.fresh()
    async with open_store(url) as store:
        await fill(store, suspended, 0)
        await Client(store).enqueue_all([no_op.with_metadata(Metadata(n)) for n in range(tasks)])
    command = [sys.executable, "-m", "benchmarks.worker", url, str(tasks), "--memory"]
    done = await trio.run_process(command, capture_stdout=True, env=dict(os.environ))
    return float(done.stdout)


def spread(seconds: list[float]) -> str:
    """Median and 95th percentile in milliseconds, of those after the first few."""
    ordered = sorted(seconds[len(seconds) // 10 :])
    return f"p50 {median(ordered) * 1e3:6.2f} ms   p95 {ordered[len(ordered) * 95 // 100] * 1e3:6.2f} ms"


def _approved(waiting: Waiting) -> Waiting:
    return evolve(waiting, approved=True)


def _records(numbers: Iterable[int], suspended: int) -> Iterator[TaskRecord]:
    plain = TaskRecord(id=TaskId(""), name="approve", created_at=NOW, started_at=NOW, fence=1, revision=2, token="t")
    for n in numbers:
        waits = n < suspended
        yield evolve(
            plain,
            id=TaskId(new_id()),
            state=TaskState.SUSPENDED if waits else TaskState.COMPLETED,
            finished_at=None if waits else NOW,
            result_json=None if waits else JsonText("{}"),
            execution_metadata_json=JsonText(f'{{"approved":{"false" if waits else "true"},"operation":"op-{n}"}}'),
        )


def _insert(records: list[TaskRecord], session: Session) -> None:
    session.insert(records)


def _execute(statement: str, session: Session) -> None:
    session.transaction.execute(statement)
