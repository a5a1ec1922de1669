"""A worker process for the tests of limits: it counts, beside the store, how many of its fleet run at the same time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from contextlib import AbstractContextManager
from multiprocessing.context import SpawnContext
from typing import Any, Protocol

import trio
from attrs import frozen

from milepost import (
    ConcurrencyLimit,
    Empty,
    ExecutorConfig,
    Success,
    Task,
    TaskResult,
    open_executor,
    open_store,
    task,
)

LIMIT = 3
CONTEXT: SpawnContext = multiprocessing.get_context("spawn")


class Number(Protocol):
    """A number that processes share."""

    value: int

    def get_lock(self) -> AbstractContextManager[object]:
        """For whoever reads and changes it."""
        ...


class Event(Protocol):
    """What processes wait for."""

    def wait(self, timeout: float | None = None) -> bool:
        """Return once it is set."""
        ...

    def set(self) -> None:
        """Let everybody go on."""
        ...


@frozen
class Gauge:
    """How many run now, and how many ever ran at once; of one key."""

    running: Number
    most: Number

    @classmethod
    def new(cls) -> Gauge:
        return cls(CONTEXT.Value("i", 0), CONTEXT.Value("i", 0))

    def __enter__(self) -> None:
        with self.running.get_lock():
            self.running.value += 1
            self.most.value = max(self.most.value, self.running.value)

    def __exit__(self, *_: object) -> None:
        with self.running.get_lock():
            self.running.value -= 1


@frozen
class Job:
    key: str


def gauged(gauges: Mapping[str, Gauge]) -> Task[Job, Empty, Empty, Empty]:
    """A task that may run `LIMIT` times at once for each key, and is seen by the key's gauge."""

    @task(name="gauged", concurrency_limit=ConcurrencyLimit(LIMIT, key=lambda job: job.key))
    async def body(metadata: Job, _: Empty) -> TaskResult[Empty, Empty]:
        with gauges[metadata.key]:
            await trio.sleep(0.002)
        return Success.with_empty_result().for_empty_error()

    return body


def work(url: str, gauges: Mapping[str, Gauge], stop: Event) -> None:
    """Be an executor until told to stop."""

    async def run() -> None:
        async with (
            open_store(url) as store,
            open_executor(store, [gauged(gauges)], config=ExecutorConfig(concurrency=8)),
        ):
            await trio.to_thread.run_sync(stop.wait)

    trio.run(run)


def start(url: str, gauges: Mapping[str, Gauge], stop: Event) -> Any:
    """A process that works."""
    process = CONTEXT.Process(target=work, args=(url, gauges, stop), daemon=True)
    process.start()
    return process
