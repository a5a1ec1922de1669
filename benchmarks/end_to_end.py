"""milepost itself, by its public API: drains, enqueues, commits, latencies and memory."""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from attrs import frozen

from benchmarks.floors import forget_the_setting_up
from milepost import (
    Client,
    Empty,
    Execution,
    Executor,
    ExecutorConfig,
    Success,
    TaskQuery,
    TaskResult,
    TaskState,
    open_executor,
    open_store,
    task,
)

if TYPE_CHECKING:  # a worker process shall not hold what only its parent uses
    from benchmarks.ground import Ground


@frozen
class Metadata:
    """The request of a no-op."""

    n: int


@frozen
class Progress:
    """The progress of a no-op."""

    row: int = 0


@frozen
class Answer:
    """The result of a no-op."""

    n: int


@task
async def no_op(metadata: Metadata, progress: Progress) -> TaskResult[Answer, Empty]:
    """What a drain runs."""
    return Success(Answer(metadata.n + progress.row))


@task
def pure_no_op(metadata: Metadata, progress: Progress) -> TaskResult[Answer, Empty]:
    """The same as a plain function."""
    return Success(Answer(metadata.n + progress.row))


@task
async def committer(
    metadata: Metadata, progress: Progress, execution: Execution[Progress]
) -> TaskResult[Answer, Empty]:
    """Commits `metadata.n` times and keeps the seconds of each."""
    for row in range(metadata.n):
        begin = time.perf_counter()
        await execution.commit(Progress(row))
        COMMIT_SECONDS.append(time.perf_counter() - begin)
    return Success(Answer(0))


@task
async def starter(metadata: Metadata, progress: Progress) -> TaskResult[Answer, Empty]:
    """Keeps the time from its enqueueing (nanoseconds in `n`) to its start."""
    START_SECONDS.append((time.time_ns() - metadata.n) / 1e9)
    return Success(Answer(0))


COMMIT_SECONDS: list[float] = []
START_SECONDS: list[float] = []


@frozen
class Drained:
    """Rates per second, and the CPU microseconds of one task here and in the database's own processes."""

    enqueue_all: float
    drain: float
    cpu_micros: float
    server_micros: float


async def drain(ground: Ground, total: int, slots: int, *, pure: bool = False) -> Drained:
    """Enqueue `total` no-ops in one transaction and drain them."""
    which = pure_no_op if pure else no_op
    async with open_store(ground.fresh()) as store:
        client = Client(store)
        requests = [which.with_metadata(Metadata(n)) for n in range(total)]
        begin = time.perf_counter()
        await client.enqueue_all(requests)
        enqueued = total / (time.perf_counter() - begin)
        forget_the_setting_up()
        begin, cpu, server = time.perf_counter(), time.process_time(), ground.server_cpu_seconds()
        async with open_executor(store, [which], config=ExecutorConfig(concurrency=slots)) as executor:
            await until_ended(executor, total)
            seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
            server = ground.server_cpu_seconds() - server
        if await client.count(TaskQuery.for_task(which).with_state(TaskState.COMPLETED)) != total:
            raise AssertionError("the drain lost tasks")
    return Drained(enqueued, total / seconds, cpu / total * 1e6, server / total * 1e6)


async def enqueue_one_by_one(ground: Ground, total: int) -> float:
    """Tasks per second, each in a commit of its own."""
    async with open_store(ground.fresh()) as store:
        client = Client(store)
        begin = time.perf_counter()
        for n in range(total):
            await client.enqueue(no_op.with_metadata(Metadata(n)))
        return total / (time.perf_counter() - begin)


async def commit_seconds(ground: Ground, committers: int, commits: int) -> list[float]:
    """The seconds of each `execution.commit`, with so many tasks committing at once."""
    COMMIT_SECONDS.clear()
    async with open_store(ground.fresh()) as store:
        client = Client(store)
        async with open_executor(store, [committer], config=ExecutorConfig(concurrency=committers)):
            requests = [committer.with_metadata(Metadata(commits)) for _ in range(committers)]
            forget_the_setting_up()
            for handle in await client.enqueue_all(requests):
                await handle.wait()
    return list(COMMIT_SECONDS)


async def start_seconds(ground: Ground, total: int) -> list[float]:
    """From before the enqueue to the first line of the task, on an idle executor of the same process."""
    START_SECONDS.clear()
    async with open_store(ground.fresh()) as store:
        client = Client(store)
        async with open_executor(store, [starter]):
            forget_the_setting_up()
            for _ in range(total):
                handle = await client.enqueue(starter.with_metadata(Metadata(time.time_ns())))
                await handle.wait()
                await trio.sleep(0.01)
    return list(START_SECONDS)


async def start_seconds_across(ground: Ground, total: int) -> list[float]:
    """The same with the executor in another process; only the store tells it."""
    url = ground.fresh()
    async with open_store(url) as store, trio.open_nursery() as nursery:
        client = Client(store)
        command = [sys.executable, "-m", "benchmarks.worker", url, str(total)]
        found: list[float] = []

        async def work() -> None:
            done = await trio.run_process(command, capture_stdout=True, env=dict(os.environ))
            found.extend(float(line) for line in done.stdout.split())

        nursery.start_soon(work)
        for _ in range(total):
            handle = await client.enqueue(starter.with_metadata(Metadata(time.time_ns())))
            await handle.wait()
            await trio.sleep(0.06)
        nursery.cancel_scope.deadline = trio.current_time() + 30
    return found[1:]  # the first one waited for the worker to start


async def memory_mebibytes(ground: Ground, totals: list[int]) -> list[float]:
    """The peak of a fresh worker process after draining so many tasks, for each of `totals`."""
    peaks: list[float] = []
    for total in totals:
        url = ground.fresh()
        async with open_store(url) as store:
            client = Client(store)
            for start in range(0, total, 10_000):
                size = min(10_000, total - start)
                await client.enqueue_all([no_op.with_metadata(Metadata(n)) for n in range(size)])
        command = [sys.executable, "-m", "benchmarks.worker", url, str(total), "--memory"]
        done = await trio.run_process(command, capture_stdout=True, env=dict(os.environ))
        peaks.append(float(done.stdout))
    return peaks


async def until_ended(executor: Executor, total: int) -> None:
    """Wait without making the store busy, as a client's own wait would."""
    while executor.statistics().ended < total:  # noqa: ASYNC110 (nobody sets an event for a count)
        await trio.sleep(0.005)


def peak_mebibytes() -> float:
    """The most memory that this process has held since it began to run its own program."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:  # not Linux; there the figure may include what the parent process held when it forked
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
