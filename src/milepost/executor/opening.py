"""The doors: `open_executor` around a block, `run_executor` for a nursery or a whole program."""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager, nullcontext
from typing import final

import trio
from attrs import frozen

from milepost.executor.config import ExecutorConfig, checked_config
from milepost.executor.engine import Engine
from milepost.executor.statistics import ExecutorStatistics
from milepost.registry import Registry
from milepost.stores.protocol import Store, checked_store
from milepost.tasks import AnyTask
from milepost.telemetry import Observer


@final
@frozen(eq=False)
class Executor:
    """A running executor, as its program sees it."""

    _engine: Engine

    @property
    def id(self) -> str:
        """The id under which it holds its lease; another one after a lease was lost."""
        return self._engine.executor

    @property
    def config(self) -> ExecutorConfig:
        """The settings that it works with now."""
        return self._engine.config

    def statistics(self) -> ExecutorStatistics:
        """A frozen look at it."""
        return self._engine.statistics()

    def reconfigure(self, config: ExecutorConfig) -> None:
        """Go on with other settings; running tasks are not disturbed."""
        self._engine.reconfigure(checked_config(config))

    async def drain(self) -> None:
        """Stop claiming, let running tasks finish for `drain_seconds`, interrupt the rest, and return when stopped."""
        self._engine.drain()
        await self._engine.stopped.wait()

    async def interrupt(self) -> None:
        """Ask every running task to stop now, and return when stopped; also cuts a drain short."""
        self._engine.interrupt()
        await self._engine.stopped.wait()

    async def wait_stopped(self) -> None:
        """Return once it has stopped."""
        await self._engine.stopped.wait()


@asynccontextmanager
async def open_executor(
    store: Store,
    tasks: Iterable[AnyTask],
    *,
    config: ExecutorConfig | None = None,
    observer: Observer | None = None,
) -> AsyncGenerator[Executor, None]:
    """Run `tasks` from `store` while the block lasts.

    Leaving the block normally drains; leaving it by an exception or a cancellation interrupts the running tasks, within
    `cleanup_seconds`; so does Ctrl-C in a task's function, which then leaves the block. Interrupted tasks keep their
    last commit and are claimable at once. What the block raises leaves it as it is. Raises `TaskDefinitionError` for
    two tasks of one name, `ConfigurationError` for what is no store or no config, `StoreError` when the store cannot be
    written.
    """
    settings = ExecutorConfig() if config is None else checked_config(config)
    engine = Engine(checked_store(store), Registry.of(tasks), settings, observer)
    failure: BaseException | None = None
    await engine.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_live, engine, nursery.cancel_scope)
        try:
            yield Executor(engine)
        except BaseException as error:  # noqa: ASYNC103 (raised below, outside of the nursery, which would wrap it)
            failure = error
            engine.interrupt()
        engine.drain()
        with trio.CancelScope(shield=True):
            await engine.stopped.wait()
    failure = engine.broken or failure
    if failure is not None:
        raise failure


async def _live(engine: Engine, block: trio.CancelScope) -> None:
    await engine.run()
    if engine.broken is not None:
        block.cancel()


async def run_executor(
    store: Store,
    tasks: Iterable[AnyTask],
    *,
    config: ExecutorConfig | None = None,
    observer: Observer | None = None,
    signals: Collection[signal.Signals] = (),
    task_status: trio.TaskStatus[Executor] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run `tasks` until drained or cancelled; the same as `open_executor`, for `nursery.start` or as a program's all.

    The first of `signals` drains, a second one interrupts.
    """
    # Before there is a lease to give back: a signal that comes meanwhile is kept.
    with trio.open_signal_receiver(*signals) if signals else nullcontext() as received:
        async with (
            open_executor(store, tasks, config=config, observer=observer) as executor,
            trio.open_nursery() as nursery,
        ):
            if received is not None:
                nursery.start_soon(_stop_on, received, executor)
            task_status.started(executor)
            await executor.wait_stopped()
            nursery.cancel_scope.cancel()


async def _stop_on(received: AsyncIterator[int], executor: Executor) -> None:
    async with trio.open_nursery() as nursery:
        for stop in (executor.drain, executor.interrupt):
            await received.__anext__()
            nursery.start_soon(stop)
