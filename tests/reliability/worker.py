"""A worker process for the tests that kill it: `python -m tests.reliability.worker URL`, with a short lease.

It prints every observation that matters as a line of text, so that a test can follow it from outside.
"""

from __future__ import annotations

import os
import signal
import sys

import trio
from returns.result import Result
from returns.result import Success as Done

from milepost import (
    Execution,
    ExecutorConfig,
    Statement,
    Success,
    TaskResult,
    Transaction,
    open_store,
    run_executor,
    task,
)
from milepost.telemetry import (
    AttemptEnded,
    AttemptStarted,
    ExecutorStarted,
    ExecutorStopped,
    LeaseLost,
    Observation,
    ProgressCommitted,
    RunDiscarded,
    StoreChanged,
)

LEASE_SECONDS = 0.6
STEPS = 3
CREATE = "create table ledger (task integer, step integer, pid integer)"
_INSERT = {"sqlite": "insert into ledger values (?, ?, ?)", "postgresql": "insert into ledger values (%s, %s, %s)"}
INSERT = _INSERT[sys.argv[1].partition(":")[0] if __name__ == "__main__" else "sqlite"]


@task
async def book(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
    """Write one line for each step together with its commit, and the last one together with the result."""
    for step in range(progress, STEPS):

        def entry(transaction: Transaction, step: int = step) -> Result[int, str]:
            transaction.execute(INSERT, (metadata, step, os.getpid()))
            return Done(step)

        await execution.commit_with(entry, step + 1)
        await trio.sleep(0.005)
    return Success.with_result(metadata).with_effects(Statement(INSERT, (metadata, STEPS, os.getpid())))


@task
async def walk(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
    """Commit in small steps, `metadata` of them."""
    for step in range(progress, metadata):
        await trio.sleep(0.01)
        await execution.commit(step + 1)
    return Success.with_result(metadata)


@task
async def march(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
    """Like `walk`, and write who took each step."""
    for step in range(progress, metadata):

        def entry(transaction: Transaction, step: int = step) -> Result[int, str]:
            transaction.execute(INSERT, (0, step, os.getpid()))
            return Done(step)

        await execution.commit_with(entry, step + 1)
        await trio.sleep(0.01)
    return Success.with_result(metadata)


@task
async def deadly(metadata: int, progress: int) -> TaskResult[int, str]:
    """Take the whole process down, before the others have made any progress."""
    os.kill(os.getpid(), signal.SIGKILL)
    return Success.with_result(0)


TASKS = [book, walk, march, deadly]
TOLD = (AttemptEnded, AttemptStarted, ExecutorStarted, ExecutorStopped, LeaseLost, RunDiscarded, StoreChanged)


def tell(observation: Observation) -> None:
    if not isinstance(observation, ProgressCommitted) and isinstance(observation, TOLD):
        print(type(observation).__name__, flush=True)


async def main(url: str, stalls_max: int) -> None:
    config = ExecutorConfig(
        concurrency=20,
        lease_seconds=LEASE_SECONDS,
        poll_seconds=0.05,
        drain_seconds=0.05,
        cleanup_seconds=2,
        stalls_max=stalls_max,
    )
    async with open_store(url) as store:
        await run_executor(store, TASKS, config=config, observer=tell, signals=[signal.SIGTERM])


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]))
