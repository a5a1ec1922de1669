"""Several worker processes drain one store, started by one word. `python -m benchmarks.processes URL SLOTS` is one."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncIterator
from functools import partial
from subprocess import PIPE
from typing import TYPE_CHECKING

import trio
from attrs import frozen

from benchmarks.end_to_end import Metadata, no_op
from benchmarks.floors import forget_the_setting_up
from milepost import Client, Executor, ExecutorConfig, TaskQuery, TaskState, open_executor, open_store

if TYPE_CHECKING:  # a worker process shall not hold what only its parent uses
    from benchmarks.ground import Ground

REPORT_SECONDS = 0.005


@frozen
class Shared:
    """Tasks per second of all processes together, and the CPU microseconds of one task in them and in the database."""

    drain: float
    client_micros: float
    server_micros: float

    @property
    def cores(self) -> float:
        """How many cores were busy with it."""
        return self.drain * (self.client_micros + self.server_micros) / 1e6


async def drain(ground: Ground, processes: int, total: int, slots: int) -> Shared:
    """Drain `total` no-ops by so many processes, from the word to begin until the last one is counted as ended."""
    url = ground.fresh()
    async with open_store(url) as store:
        client = Client(store)
        await client.enqueue_all([no_op.with_metadata(Metadata(n)) for n in range(total)])
        workers = [await _Worker.started(url, slots) for _ in range(processes)]
        for worker in workers:
            await worker.ready()
        begin, server = time.perf_counter(), ground.server_cpu_seconds()
        for worker in workers:
            await worker.say("begin")
        counts = [0] * processes
        everything = trio.Event()
        async with trio.open_nursery() as nursery:
            for number, worker in enumerate(workers):
                nursery.start_soon(worker.follow, partial(_note, counts, number, total, everything))
            with trio.fail_after(120):
                await everything.wait()
            seconds, server = time.perf_counter() - begin, ground.server_cpu_seconds() - server
            for worker in workers:
                await worker.say("end")
        if await client.count(TaskQuery.for_task(no_op).with_state(TaskState.COMPLETED)) != total:
            raise AssertionError("the drain lost tasks")
    used = sum(worker.cpu_seconds for worker in workers)
    return Shared(total / seconds, used / total * 1e6, server / total * 1e6)


def _note(counts: list[int], number: int, total: int, everything: trio.Event, ended: int) -> None:
    counts[number] = ended
    if sum(counts) >= total:
        everything.set()


class _Worker:
    """This side of a worker process."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._stdin = process.stdin
        self._lines = _lines(process.stdout)
        self.cpu_seconds = 0.0

    @classmethod
    async def started(cls, url: str, slots: int) -> _Worker:
        command = [sys.executable, "-m", "benchmarks.processes", url, str(slots)]
        return cls(await trio.lowlevel.open_process(command, env=dict(os.environ), stdin=PIPE, stdout=PIPE))

    async def ready(self) -> None:
        """Wait until it has opened the store."""
        if await anext(self._lines) != "ready":
            raise AssertionError("a worker did not start")

    async def say(self, word: str) -> None:
        """Send it one line."""
        await self._stdin.send_all(f"{word}\n".encode())

    async def follow(self, ended: partial[None]) -> None:
        """Tell how many tasks it has ended, until it ends itself."""
        async for line in self._lines:
            what, _, figure = line.partition(" ")
            if what == "ended":
                ended(int(figure))
            else:
                self.cpu_seconds = float(figure)
        await self._process.wait()


async def _lines(stream: trio.abc.ReceiveStream) -> AsyncIterator[str]:
    rest = ""
    async for chunk in stream:
        *lines, rest = (rest + bytes(chunk).decode()).split("\n")
        for line in lines:
            yield line


async def work(url: str, slots: int) -> None:
    """Run what waits from the first line of stdin to the second, and tell how many tasks have ended."""
    async with open_store(url) as store:
        print("ready", flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        forget_the_setting_up()
        cpu = time.process_time()
        async with (
            open_executor(store, [no_op], config=ExecutorConfig(concurrency=slots)) as executor,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(_report, executor)
            await trio.to_thread.run_sync(sys.stdin.readline)
            nursery.cancel_scope.cancel()
            cpu = time.process_time() - cpu
    print(f"cpu {cpu}", flush=True)


async def _report(executor: Executor) -> None:
    told = 0
    while True:
        ended = executor.statistics().ended
        if ended != told:
            told = ended
            print(f"ended {told}", flush=True)
        await trio.sleep(REPORT_SECONDS)


if __name__ == "__main__":
    trio.run(work, sys.argv[1], int(sys.argv[2]))
