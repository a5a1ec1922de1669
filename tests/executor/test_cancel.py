"""Cancelling from outside: before, while and after a task runs, from here and from another process's view."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import timedelta

import pytest
import trio
import trio.testing

from milepost import (
    BlockingExecution,
    CancelAccepted,
    Client,
    Crash,
    CrashKind,
    Execution,
    ExecutorConfig,
    Failure,
    HistoryKind,
    Retry,
    StopKind,
    Stopping,
    Store,
    Success,
    Suspended,
    TaskId,
    TaskNotFound,
    TaskResult,
    TaskState,
    WrongState,
    open_executor,
    open_store,
    task,
)
from milepost.stores.protocol import Hint, Watch
from tests.executor.kit import (
    PassingStore,
    Recorder,
    abandoned_executor,
    enqueue,
    kinds_of,
    quick,
    record_of,
    until,
    until_state,
)

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
CANCELLED = Crash(CrashKind.CANCELLED, "no longer wanted")


@pytest.fixture(params=["this client", "another store object"])
async def canceller(request: pytest.FixtureRequest, store: Store) -> AsyncGenerator[Client]:
    """Who asks: this process's client, or one with a store of its own on the same file."""
    if request.param == "this client":
        yield Client(store)
        return
    if store.url == "memory:":
        pytest.skip("a store in memory has no other view")
    async with open_store(store.url) as other:
        yield Client(other)


async def cancel(client: Client, id: TaskId) -> TaskState:
    accepted: CancelAccepted = (await client.cancel(id, reason="no longer wanted")).unwrap()
    return accepted.state


@task
def never_started(metadata: int, progress: int) -> TaskResult[int, str]:
    raise AssertionError("a cancelled task must not start")


async def test_a_waiting_task_is_cancelled_at_once_and_never_starts(store: Store, canceller: Client) -> None:
    (id,) = await enqueue(store, never_started.with_metadata(1).after(timedelta(milliseconds=50)))
    assert await cancel(canceller, id) is TaskState.CANCELLED
    async with open_executor(store, [never_started], config=quick()) as executor:
        assert await Client(store).wait(id) == CANCELLED
        await until(lambda: executor.statistics().turns >= 3)
        assert executor.statistics().claimed == 0


async def test_a_suspended_task_is_cancelled_at_once_and_keeps_its_progress(store: Store, canceller: Client) -> None:
    @task
    def park(metadata: int, progress: int) -> TaskResult[int, str, int]:
        return Suspended(5).after(HOUR)

    (id,) = await enqueue(store, park.with_metadata(1))
    async with open_executor(store, [park], config=quick()):
        await until_state(store, id, TaskState.SUSPENDED)
        assert await cancel(canceller, id) is TaskState.CANCELLED
    record = await record_of(store, id)
    assert (record.crash, record.execution_metadata) == (CANCELLED, 5)


async def test_a_running_task_learns_the_reason_and_ends_cancelled_with_its_progress(
    store: Store, canceller: Client
) -> None:
    stops: list[Stopping | None] = []
    started = trio.Event()

    @task
    async def long(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        await execution.commit(3)
        started.set()
        try:
            await trio.sleep_forever()
        finally:
            stops.append(execution.stopping)

    (id,) = await enqueue(store, long.with_metadata(1))
    async with open_executor(store, [long], config=quick()):
        await started.wait()
        assert await cancel(canceller, id) is TaskState.RUNNING
        assert await Client(store).wait(id, timeout_seconds=10) == CANCELLED
    assert stops == [Stopping(StopKind.CANCELLED, "no longer wanted")]
    record = await record_of(store, id)
    assert (record.execution_metadata, record.failures) == (3, 0)
    kinds = await kinds_of(store, id)
    assert kinds[-2:] == [HistoryKind.CANCEL_REQUESTED, HistoryKind.CANCELLED]


async def test_a_cancel_reaches_a_run_by_hint_though_every_slot_is_taken_and_the_polls_are_rare(
    store: Store, canceller: Client
) -> None:
    started = trio.Event()

    @task
    async def long(metadata: int, progress: int) -> TaskResult[int, str]:
        started.set()
        await trio.sleep_forever()

    (id,) = await enqueue(store, long.with_metadata(1))
    config = ExecutorConfig(concurrency=1, poll_seconds=60, lease_seconds=60, cleanup_seconds=0.2)
    async with open_executor(store, [long], config=config):
        await started.wait()
        await cancel(canceller, id)
        assert await Client(store).wait(id, timeout_seconds=2) == CANCELLED


async def test_the_first_reason_stands(store: Store) -> None:
    started, finish = trio.Event(), trio.Event()

    @task
    async def stubborn(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        started.set()
        with trio.CancelScope(shield=True):
            await finish.wait()
            await execution.wait_stopping()
        await trio.lowlevel.checkpoint()
        return Success.with_result(1)

    (id,) = await enqueue(store, stubborn.with_metadata(1))
    client = Client(store)
    async with open_executor(store, [stubborn], config=quick(cleanup_seconds=5)):
        await started.wait()
        await client.cancel(id, reason="first")
        assert (await client.cancel(id, reason="second")).unwrap().state is TaskState.RUNNING
        finish.set()
        assert await client.wait(id) == Crash(CrashKind.CANCELLED, "first")


async def test_a_success_under_a_cancel_stands_and_the_request_stays_visible(store: Store) -> None:
    started = trio.Event()

    @task
    async def finishing(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        with trio.CancelScope(shield=True):
            started.set()
            await execution.wait_stopping()
        return Success.with_result(9)

    (id,) = await enqueue(store, finishing.with_metadata(1))
    async with open_executor(store, [finishing], config=quick()):
        await started.wait()
        await cancel(Client(store), id)
        assert await Client(store).wait(id) == Success.with_result(9)
    record = await record_of(store, id)
    assert (record.cancel_reason, record.state) == ("no longer wanted", TaskState.COMPLETED)


ANSWERS: dict[str, TaskResult[int, str, int]] = {
    "suspended": Suspended(4).at_once(),
    "a failure that would be retried": Failure.with_error("later").retry_after(timedelta(0)),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_that_would_go_on_becomes_cancelled_under_a_cancel(
    store: Store, answer: TaskResult[int, str, int]
) -> None:
    started = trio.Event()

    @task
    async def going_on(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str, int]:
        with trio.CancelScope(shield=True):
            started.set()
            await execution.wait_stopping()
        return answer

    (id,) = await enqueue(store, going_on.with_metadata(1))
    async with open_executor(store, [going_on], config=quick()):
        await started.wait()
        await cancel(Client(store), id)
        assert await Client(store).wait(id) == CANCELLED
    assert (await record_of(store, id)).execution_metadata == (4 if isinstance(answer, Suspended) else 0)


async def test_what_is_raised_while_cleaning_up_does_not_hide_the_cancel(store: Store) -> None:
    started = trio.Event()

    @task(retry=Retry.fixed(9, timedelta(0)))
    async def clumsy(metadata: int, progress: int) -> TaskResult[int, str]:
        try:
            started.set()
            await trio.sleep_forever()
        finally:
            raise RuntimeError("dropped it")

    (id,) = await enqueue(store, clumsy.with_metadata(1))
    async with open_executor(store, [clumsy], config=quick()):
        await started.wait()
        await cancel(Client(store), id)
        assert await Client(store).wait(id) == CANCELLED


async def test_a_run_that_shields_too_long_is_ended_and_what_it_returns_later_is_discarded(store: Store) -> None:
    started, finish, finished = trio.Event(), trio.Event(), trio.Event()

    @task
    async def stubborn(metadata: int, progress: int) -> TaskResult[int, str]:
        with trio.CancelScope(shield=True):
            started.set()
            await finish.wait()
        finished.set()
        return Success.with_result(1)

    (id,) = await enqueue(store, stubborn.with_metadata(1))
    recorder = Recorder()
    config = quick(cleanup_seconds=0.05)
    async with open_executor(store, [stubborn], config=config, observer=recorder) as executor:
        await started.wait()
        await cancel(Client(store), id)
        assert await Client(store).wait(id) == CANCELLED
        assert executor.statistics().running == 1  # the function itself cannot be ended, and keeps its slot
        before = await record_of(store, id)
        finish.set()
        await finished.wait()
        await until(lambda: executor.statistics().running == 0)
    assert await record_of(store, id) == before
    assert len(recorder.ended(id)) == 1


async def test_a_blocking_task_sees_the_cancel_at_its_next_wait(store: Store) -> None:
    started = trio.Event()
    seen: list[Stopping | None] = []

    @task(blocking=True)
    def thorough(metadata: int, progress: int, execution: BlockingExecution[int]) -> TaskResult[int, str]:
        trio.from_thread.run_sync(started.set)
        execution.wait_stopping()
        seen.append(execution.stopping)
        while True:
            execution.commit(progress)

    (id,) = await enqueue(store, thorough.with_metadata(1))
    async with open_executor(store, [thorough], config=quick(cleanup_seconds=5)):
        await started.wait()
        await cancel(Client(store), id)
        assert await Client(store).wait(id, timeout_seconds=10) == CANCELLED
    assert seen == [Stopping(StopKind.CANCELLED, "no longer wanted")]


async def test_a_blocking_task_may_look_and_answer_itself(store: Store) -> None:
    started = trio.Event()

    @task(blocking=True)
    def polite(metadata: int, progress: int, execution: BlockingExecution[int]) -> TaskResult[int, str]:
        trio.from_thread.run_sync(started.set)
        while execution.stopping is None:
            execution.report(0.5)
        return Success.with_result(1)

    (id,) = await enqueue(store, polite.with_metadata(1))
    async with open_executor(store, [polite], config=quick(cleanup_seconds=5)):
        await started.wait()
        await cancel(Client(store), id)
        assert await Client(store).wait(id, timeout_seconds=10) == Success.with_result(1)


async def test_a_cancel_during_a_drain_still_works(store: Store, canceller: Client) -> None:
    started = trio.Event()

    @task
    async def long(metadata: int, progress: int) -> TaskResult[int, str]:
        started.set()
        await trio.sleep_forever()

    (id,) = await enqueue(store, long.with_metadata(1))
    config = ExecutorConfig(drain_seconds=60, poll_seconds=60, lease_seconds=60)
    with trio.fail_after(10):
        async with open_executor(store, [long], config=config) as executor, trio.open_nursery() as nursery:
            await started.wait()
            nursery.start_soon(executor.drain)
            await trio.testing.wait_all_tasks_blocked()
            await cancel(canceller, id)
    assert await Client(store).wait(id) == CANCELLED


async def test_a_final_or_unknown_task_cannot_be_cancelled(store: Store) -> None:
    @task
    def fine(metadata: int, progress: int) -> TaskResult[int, str]:
        return Success.with_result(1)

    (id,) = await enqueue(store, fine.with_metadata(1))
    client = Client(store)
    async with open_executor(store, [fine], config=quick()):
        await client.wait(id)
        before = await record_of(store, id)
        assert (await client.cancel(id)).failure() == WrongState(TaskState.COMPLETED)
    assert (await client.cancel(TaskId("nobody"))).failure() == TaskNotFound(TaskId("nobody"))
    assert await record_of(store, id) == before


async def test_a_cancel_asked_while_nobody_lives_is_obeyed_by_the_next_owner_without_running_the_task(
    store: Store,
) -> None:
    calls: list[int] = []
    started = trio.Event()

    @task
    async def long(metadata: int, progress: int) -> TaskResult[int, str]:
        calls.append(1)
        started.set()
        await trio.sleep_forever()

    (id,) = await enqueue(store, long.with_metadata(1))
    async with abandoned_executor(store, [long], config=quick()) as first:
        await started.wait()
        executor = first.id
        await store.transact(lambda session: session.close_lease(executor))
        claimed = await record_of(store, id)
        await cancel(Client(store), id)
        async with open_executor(store, [long], config=quick()):
            assert await Client(store).wait(id) == CANCELLED
    assert calls == [1]
    assert (await record_of(store, id)).fence >= claimed.fence


class Deaf(PassingStore):
    """A store whose hints are all lost."""

    def watch(self, hints: Hint) -> Watch:
        return super().watch(Hint(0))


async def test_a_full_executor_that_hears_nothing_finds_a_cancel_by_polling(store: Store) -> None:
    started = trio.Event()

    @task
    async def sit(metadata: int, progress: int) -> TaskResult[int, str]:
        started.set()
        await trio.sleep_forever()

    (id,) = await enqueue(store, sit.with_metadata(1))
    # A lease so long that no renewal takes a turn in the time of this test.
    async with abandoned_executor(Deaf(store), [sit], config=quick(concurrency=1, lease_seconds=600)):
        await started.wait()
        assert await cancel(Client(store), id) is TaskState.RUNNING
        await until_state(store, id, TaskState.CANCELLED)
