"""A program in two versions, as a process: `python -m tests.reliability.deployed URL VERSION`.

Version 2 has renamed what version 1 stores, in its metadata and in its execution metadata. Every step of a task writes
a line of a ledger together with its commit: which task, which step, and by which version.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Final

import trio
from attrs import frozen
from returns.result import Result
from returns.result import Success as Done

from milepost import (
    Execution,
    ExecutorConfig,
    Json,
    Success,
    Suspended,
    Task,
    TaskResult,
    Transaction,
    open_store,
    run_executor,
    task,
)
from milepost.telemetry import ExecutorStarted, Observation

CREATE: Final = "create table ledger (task integer, step integer, version integer)"
STEPS: Final = 6
MARKS: Final = {"sqlite": "?, ?, ?", "postgresql": "%s, %s, %s"}


def entry(transaction: Transaction, number: int, step: int, version: int, marks: str) -> Result[int, str]:
    """One line of the ledger."""
    transaction.execute(f"insert into ledger values ({marks})", (number, step, version))
    return Done(step)


Entry = Callable[[int, int, int], Callable[[Transaction], Result[int, str]]]


@frozen
class Order1:
    number: int


@frozen
class Step1:
    step: int = 0


def first(line: Entry) -> Task[Order1, Step1, int, str]:
    """The task in version 1."""

    @task(name="ship")
    async def ship(order: Order1, progress: Step1, execution: Execution[Step1]) -> TaskResult[int, str]:
        for step in range(progress.step, STEPS):
            await execution.commit_with(line(order.number, step, 1), Step1(step + 1))
            await trio.sleep(0.01)
        return Success.with_result(order.number)

    return ship


@frozen
class Order2:
    order: str
    urgent: bool


@frozen
class Steps2:
    done: int = 0


def renamed(metadata: Json, execution_metadata: Json) -> tuple[Json, Json]:
    """From version 1 to version 2."""
    assert isinstance(metadata, dict)
    assert isinstance(execution_metadata, dict)
    return {"order": str(metadata["number"]), "urgent": False}, {"done": execution_metadata["step"]}


def second(line: Entry) -> Task[Order2, Steps2, int, str]:
    """The task in version 2, which parks once on its way."""

    @task(name="ship", version=2, upgrades={1: renamed})
    async def ship(order: Order2, progress: Steps2, execution: Execution[Steps2]) -> TaskResult[int, str, Steps2]:
        number = int(order.order)
        for step in range(progress.done, STEPS):
            await execution.commit_with(line(number, step, 2), Steps2(step + 1))
            if step == STEPS // 2:
                return Suspended(Steps2(step + 1)).at_once()
            await trio.sleep(0.01)
        return Success.with_result(number)

    return ship


def no_line(number: int, step: int, version: int) -> Callable[[Transaction], Result[int, str]]:
    """For those who only enqueue."""
    raise AssertionError("nothing runs here")


async def main(url: str, version: int) -> None:
    """Work until SIGTERM; the drain is short, so that runs are cut and go on elsewhere."""
    marks = MARKS[url.partition(":")[0]]

    def line(number: int, step: int, version: int) -> Callable[[Transaction], Result[int, str]]:
        return partial(entry, number=number, step=step, version=version, marks=marks)

    def tell(observation: Observation) -> None:
        if isinstance(observation, ExecutorStarted):
            print("started", flush=True)

    config = ExecutorConfig(concurrency=20, lease_seconds=2, poll_seconds=0.05, drain_seconds=0.02, cleanup_seconds=1)
    chosen = first(line) if version == 1 else second(line)
    async with open_store(url) as store:
        await run_executor(store, [chosen], config=config, observer=tell, signals=[signal.SIGTERM])


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]))
