"""Stopping: what runs may finish, what does not is given back, and nothing of the executor stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar, Unpack

import pytest
import trio
import trio.testing

from milepost import (
    BlockingExecution,
    Client,
    Execution,
    HistoryKind,
    StopKind,
    Store,
    StoreReadOnly,
    Success,
    TaskId,
    TaskQuery,
    TaskResult,
    TaskState,
    open_executor,
    open_store,
    run_executor,
    task,
)
from milepost.errors import StoreUnreachable
from milepost.executor.turn import TurnReceipt
from milepost.stores.protocol import Session, TransactOptions
from milepost.telemetry import ExecutorStarted, ExecutorStopped
from tests.executor.kit import (
    PassingStore,
    Recorder,
    enqueue,
    kinds_of,
    quick,
    record_of,
    run,
    until,
    until_state,
)

pytestmark = pytest.mark.anyio

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]


class Sitting:
    """A task that commits once and then sits until it is let go, and what it saw."""

    def __init__(self) -> None:
        self.started, self.finish = trio.Event(), trio.Event()
        self.starts: list[int] = []
        self.stops: list[StopKind | None] = []

        @task
        async def sit(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
            self.starts.append(progress)
            await execution.commit(progress + 1)
            self.started.set()
            try:
                await self.finish.wait()
            finally:
                self.stops.append(execution.stopping.kind if execution.stopping else None)
            return Success.with_result(progress)

        self.task = sit


@pytest.fixture
async def sitting() -> Sitting:
    return Sitting()


async def assert_given_back(store: Store, *ids: TaskId) -> None:
    """Interrupted runs keep their last commit, cost nothing, and are claimable at once."""
    for id in ids:
        record = await record_of(store, id)
        assert (record.state, record.executor, record.execution_metadata) == (TaskState.INTERRUPTED, None, 1)
        assert (record.attempt, record.failures, record.stalls, record.interruptions) == (1, 0, 0, 1)
        assert record.due_at is not None
        assert record.due_at <= await store.read(lambda session: session.now())
    await assert_nothing_left(store)


async def assert_nothing_left(store: Store) -> None:
    assert await store.read(lambda session: session.leases()) == []
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("milepost-lease")] == []


async def test_leaving_normally_lets_runs_finish(store: Store, sitting: Sitting) -> None:
    recorder = Recorder()
    (id,) = await enqueue(store, sitting.task.with_metadata(1))
    async with trio.open_nursery() as nursery:
        async with open_executor(store, [sitting.task], config=quick(), observer=recorder):
            await sitting.started.wait()
            nursery.start_soon(_finish_later, sitting)
        assert (await record_of(store, id)).state is TaskState.COMPLETED
    assert sitting.stops == [None]
    assert [type(each) for each in recorder.seen[:: len(recorder.seen) - 1]] == [ExecutorStarted, ExecutorStopped]
    await assert_nothing_left(store)


async def _finish_later(sitting: Sitting) -> None:
    await trio.testing.wait_all_tasks_blocked()
    sitting.finish.set()


async def test_a_draining_executor_claims_nothing_more(store: Store, sitting: Sitting) -> None:
    await enqueue(store, sitting.task.with_metadata(1))
    async with open_executor(store, [sitting.task], config=quick()) as executor, trio.open_nursery() as nursery:
        await sitting.started.wait()
        nursery.start_soon(executor.drain)
        await trio.testing.wait_all_tasks_blocked()
        (late,) = await enqueue(store, sitting.task.with_metadata(2))
        sitting.finish.set()
        await executor.wait_stopped()
    assert (await record_of(store, late)).state is TaskState.PENDING
    assert sitting.starts == [0]


class Boom(Exception):
    pass


async def test_leaving_by_an_exception_interrupts_at_once_and_the_exception_leaves_bare(
    store: Store, sitting: Sitting
) -> None:
    ids = await enqueue(store, *(sitting.task.with_metadata(n) for n in range(3)))
    recorder = Recorder()

    async def leave_by_an_exception() -> None:
        async with open_executor(store, [sitting.task], config=quick(drain_seconds=60), observer=recorder) as executor:
            await until(lambda: executor.statistics().commits == 3)
            raise Boom

    with trio.fail_after(5), pytest.raises(Boom):
        await leave_by_an_exception()
    assert sitting.stops == [StopKind.SHUTDOWN] * 3
    await assert_given_back(store, *ids)
    assert [kinds[-1] for kinds in [await kinds_of(store, id) for id in ids]] == [HistoryKind.INTERRUPTED] * 3
    sitting.finish.set()
    async with open_executor(store, [sitting.task], config=quick()):
        assert [await Client(store).wait(id) for id in ids] == [Success.with_result(1)] * 3


async def test_a_cancellation_around_the_block_interrupts_at_once(store: Store, sitting: Sitting) -> None:
    (id,) = await enqueue(store, sitting.task.with_metadata(1))
    with trio.fail_after(5), trio.CancelScope() as scope:
        async with open_executor(store, [sitting.task], config=quick(drain_seconds=60)):
            await sitting.started.wait()
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert sitting.stops == [StopKind.SHUTDOWN]
    await assert_given_back(store, id)


@pytest.mark.parametrize("blocking", [False, True], ids=["async", "plain"])
@pytest.mark.parametrize("grouped", [False, True], ids=["bare", "grouped"])
async def test_ctrl_c_in_a_tasks_function_interrupts_the_others_and_leaves_the_block(
    store: Store, sitting: Sitting, grouped: bool, blocking: bool
) -> None:
    error = BaseExceptionGroup("of a nursery", [ValueError(), KeyboardInterrupt()]) if grouped else KeyboardInterrupt()

    @task
    async def interrupted(metadata: int, progress: int) -> TaskResult[int, str]:
        await sitting.started.wait()
        raise error

    @task
    def interrupted_in_place(metadata: int, progress: int) -> TaskResult[int, str]:
        raise error

    which = interrupted_in_place if blocking else interrupted
    (sits,) = await enqueue(store, sitting.task.with_metadata(1))

    async def program() -> None:
        async with open_executor(store, [sitting.task, which], config=quick()):
            await sitting.started.wait()
            await Client(store).enqueue(which.with_metadata(1))
            await trio.sleep_forever()

    with trio.fail_after(10), pytest.raises(type(error)) as raised:
        await program()
    assert raised.value is error
    await assert_given_back(store, sits)
    records = (await Client(store).search(TaskQuery.for_task(which))).records
    assert [(each.state, each.interruptions) for each in records] == [(TaskState.INTERRUPTED, 1)]


async def test_a_cancellation_before_it_has_started_leaves_nothing_behind(store: Store, sitting: Sitting) -> None:
    with trio.fail_after(5), trio.CancelScope() as scope:
        scope.cancel()
        async with open_executor(store, [sitting.task], config=quick()):
            await trio.sleep_forever()
    assert scope.cancelled_caught
    await assert_nothing_left(store)


async def test_runs_that_outlast_the_drain_are_interrupted(store: Store, sitting: Sitting) -> None:
    (id,) = await enqueue(store, sitting.task.with_metadata(1))
    async with open_executor(store, [sitting.task], config=quick(drain_seconds=0.05)):
        await sitting.started.wait()
    assert sitting.stops == [StopKind.SHUTDOWN]
    await assert_given_back(store, id)


async def test_an_interrupt_cuts_a_drain_short(store: Store, sitting: Sitting) -> None:
    (id,) = await enqueue(store, sitting.task.with_metadata(1))
    with trio.fail_after(5):
        async with (
            open_executor(store, [sitting.task], config=quick(drain_seconds=60)) as executor,
            trio.open_nursery() as nursery,
        ):
            await sitting.started.wait()
            nursery.start_soon(executor.drain)
            await trio.testing.wait_all_tasks_blocked()
            await executor.interrupt()
            await executor.interrupt()  # asking again is no mistake
    await assert_given_back(store, id)


async def test_a_run_that_shields_too_long_is_given_back_and_what_it_returns_later_is_discarded(store: Store) -> None:
    started, finish = trio.Event(), trio.Event()

    @task
    async def stubborn(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        await execution.commit(1)
        with trio.CancelScope(shield=True):
            started.set()
            await finish.wait()
        return Success.with_result(1)

    (id,) = await enqueue(store, stubborn.with_metadata(1))
    async with open_executor(store, [stubborn], config=quick(cleanup_seconds=0.05)) as executor:
        await started.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(executor.interrupt)
            await until_state(store, id, TaskState.INTERRUPTED)
            finish.set()
    await assert_given_back(store, id)


async def test_a_blocking_run_is_interrupted_at_its_next_commit(store: Store) -> None:
    started = trio.Event()

    @task(blocking=True)
    def steps(metadata: int, progress: int, execution: BlockingExecution[int]) -> TaskResult[int, str]:
        execution.commit(1)
        trio.from_thread.run_sync(started.set)
        execution.wait_stopping()
        execution.commit(2)
        return Success.with_result(1)

    (id,) = await enqueue(store, steps.with_metadata(1))
    async with open_executor(store, [steps], config=quick(cleanup_seconds=5)) as executor:
        await started.wait()
        await executor.interrupt()
    await assert_given_back(store, id)


class Gate(PassingStore):
    """Holds the answer of a turn that has claimed something until it is let through."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.claimed, self.go = trio.Event(), trio.Event()

    async def transact(self, function: Callable[[Session], T], **options: Unpack[TransactOptions]) -> T:
        answer = await super().transact(function, **options)
        if isinstance(answer, TurnReceipt) and answer.claimed:
            self.claimed.set()
            await self.go.wait()
        return answer


async def test_what_a_turn_under_way_still_claims_is_given_back_and_never_starts(store: Store) -> None:
    calls: list[int] = []

    @task
    async def sit(metadata: int, progress: int) -> TaskResult[int, str]:
        calls.append(1)
        await trio.sleep_forever()

    (id,) = await enqueue(store, sit.with_metadata(1).with_execution_metadata(1))
    gate = Gate(store)
    with trio.fail_after(10):
        async with open_executor(gate, [sit], config=quick()) as executor, trio.open_nursery() as nursery:
            await gate.claimed.wait()
            nursery.start_soon(executor.interrupt)
            await trio.testing.wait_all_tasks_blocked()
            gate.go.set()
    assert calls == []
    await assert_given_back(store, id)


class Unplugged(PassingStore):
    """A store that can be taken away for good."""

    away = False

    async def transact(self, function: Callable[[Session], T], **options: Unpack[TransactOptions]) -> T:
        await trio.lowlevel.checkpoint()
        if self.away:
            raise StoreUnreachable("unplugged")
        return await super().transact(function, **options)


@pytest.mark.slow
async def test_it_stops_in_bounded_time_though_the_store_is_gone_and_a_commit_waits_under_a_shield(
    store: Store,
) -> None:
    unplugged = Unplugged(store)
    started = trio.Event()

    @task
    async def careful(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        started.set()
        with trio.CancelScope(shield=True):
            unplugged.away = True
            await execution.commit(5)
        return Success.with_result(1)

    (id,) = await enqueue(store, careful.with_metadata(1))
    with trio.fail_after(8):
        async with open_executor(unplugged, [careful], config=quick(cleanup_seconds=0.1, drain_seconds=0)):
            await started.wait()
    record = await record_of(store, id)
    assert (record.state, record.execution_metadata) == (TaskState.RUNNING, 0)  # for the others, once the lease is over


@pytest.mark.parametrize(
    ("kind", "read_only"), [("sqlite", "?mode=ro"), ("postgres", "&options=-c%20default_transaction_read_only%3Don")]
)
async def test_a_store_that_cannot_be_written_is_told_before_anything_starts_and_bare(
    kind: str, read_only: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path / 'tasks.db'}" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    async with open_store(url):
        pass
    async with open_store(url + read_only, migrate=False) as store:
        with pytest.raises(StoreReadOnly):
            await run(store, [])


async def test_nothing_is_left_after_many_executors(store: Store) -> None:
    @task
    def fine(metadata: int, progress: int) -> TaskResult[int, str]:
        return Success.with_result(1)

    for number in range(5):
        assert await run(store, [fine], fine.with_metadata(number)) == [Success.with_result(1)]
    await assert_nothing_left(store)


async def test_run_executor_is_an_executor_for_a_nursery(store: Store, sitting: Sitting) -> None:
    (id,) = await enqueue(store, sitting.task.with_metadata(1))
    async with trio.open_nursery() as nursery:
        executor = await nursery.start(partial(run_executor, store, [sitting.task], config=quick()))
        await sitting.started.wait()
        sitting.finish.set()
        assert await Client(store).wait(id) == Success.with_result(0)
        await executor.drain()
    await assert_nothing_left(store)


PROGRAM = """
import signal, sys, trio
from milepost import *

@task
async def sit(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
    await execution.commit(1)
    print("sits", flush=True)
    if metadata:
        await trio.sleep(0.3)
        return Success.with_result(1)
    await trio.sleep_forever()

async def main() -> None:
    async with open_store(sys.argv[1]) as store:
        config = ExecutorConfig(drain_seconds=60, cleanup_seconds=0.2)
        await run_executor(store, [sit], config=config, signals=[signal.SIGTERM, signal.SIGINT])
    print("stopped", flush=True)

trio.run(main)
"""


@task
async def sit(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
    raise AssertionError("runs in another process only")


def start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)


@pytest.mark.slow
@pytest.mark.parametrize("finishes", [True, False], ids=["the first lets runs finish", "the second interrupts"])
async def test_signals_stop_a_program(shared_store: Store, finishes: bool) -> None:
    (id,) = await enqueue(shared_store, sit.with_metadata(int(finishes)))
    command = [sys.executable, "-c", PROGRAM, shared_store.url]
    process = start(command)
    assert process.stdout is not None
    with process, trio.fail_after(20):
        assert await trio.to_thread.run_sync(process.stdout.readline) == "sits\n"
        os.kill(process.pid, signal.SIGTERM)
        if not finishes:
            os.kill(process.pid, signal.SIGINT)
        rest = await trio.to_thread.run_sync(process.stdout.read)
    assert (process.returncode, rest) == (0, "stopped\n")
    if finishes:
        assert (await record_of(shared_store, id)).state is TaskState.COMPLETED
        await assert_nothing_left(shared_store)
    else:
        await assert_given_back(shared_store, id)
