"""What is removed when, by whom, and what never is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar, Unpack, final

import pytest
import trio
from returns.result import Success as Done

from milepost import (
    BlockingClient,
    Client,
    ConfigurationError,
    ExecutorConfig,
    PruneSummary,
    Retention,
    Store,
    StoreUnreachable,
    Success,
    TaskGone,
    TaskId,
    TaskQuery,
    TaskRecord,
    TaskResult,
    TaskState,
    open_executor,
    open_store,
    task,
)
from milepost.crash import Crash, CrashKind
from milepost.executor.pruning import Pruning
from milepost.payload import JsonText
from milepost.stores import prune
from milepost.stores.protocol import Session, TransactOptions
from milepost.stores.tables import LogLine
from milepost.testing.conformance.kit import sample, task_id
from tests.executor.kit import PassingStore, quick, until

pytestmark = pytest.mark.anyio

T = TypeVar("T")
DAY = timedelta(days=1)
_X = JsonText("1")
WEEK = Retention(completed=7 * DAY, cancelled=7 * DAY)
ENDS: dict[TaskState, dict[str, Any]] = {
    TaskState.COMPLETED: {"result_json": _X},
    TaskState.FAILED: {"error_json": _X},
    TaskState.CANCELLED: {"crash": Crash(CrashKind.CANCELLED, "enough")},
}


async def put(store: Store, *records: Callable[[Session], TaskRecord]) -> None:
    await store.transact(lambda session: session.insert([make(session) for make in records]))


def ended(n: int, state: TaskState = TaskState.COMPLETED, *, days: float = 30) -> Callable[[Session], TaskRecord]:
    """A task that ended so many days ago, a day after it was enqueued."""

    def make(session: Session) -> TaskRecord:
        end = session.now() - days * DAY
        return sample(n, state=state, due_at=None, finished_at=end, created_at=end - DAY, **ENDS[state])

    return make


def live(n: int, state: TaskState) -> Callable[[Session], TaskRecord]:
    """A task that was enqueued long ago and has not ended."""

    def make(session: Session) -> TaskRecord:
        then = session.now() - 90 * DAY
        due_at = session.now() + DAY if state in (TaskState.PENDING, TaskState.RETRYING) else None
        running: dict[str, Any] = {"executor": "ada", "token": "x", "fence": 1} if state is TaskState.RUNNING else {}
        stuck: dict[str, Any] = {"crash": Crash(CrashKind.STALLED)} if state is TaskState.QUARANTINED else {}
        return sample(n, state=state, due_at=due_at, created_at=then, **running, **stuck)

    return make


async def left(store: Store) -> list[int]:
    """Which samples are still there."""
    ids = await store.read(lambda session: session.ids(TaskQuery().filter))
    return [int(id[-12:], 16) for id in ids]


# What is removed.


@pytest.mark.parametrize("blocking", [False, True], ids=["trio", "blocking"])
async def test_what_ended_longer_ago_than_its_state_is_kept_is_removed(store: Store, blocking: bool) -> None:
    await put(store, ended(1), ended(2, days=6), ended(3, TaskState.CANCELLED), ended(4, TaskState.FAILED))
    await put(store, ended(5, TaskState.FAILED, days=400), ended(6, TaskState.CANCELLED, days=3))
    retention = Retention(completed=7 * DAY, cancelled=2 * DAY, failed=365 * DAY)
    if blocking:
        summary = await trio.to_thread.run_sync(BlockingClient(store).prune, retention)
    else:
        summary = await Client(store).prune(retention)
    assert summary == PruneSummary(completed=1, cancelled=2, failed=1)
    assert await left(store) == [2, 4]


async def test_failed_and_quarantined_tasks_are_kept_unless_somebody_says_otherwise(store: Store) -> None:
    await put(store, ended(1, TaskState.FAILED, days=999), live(2, TaskState.QUARANTINED))
    assert await Client(store).prune(WEEK) == PruneSummary()
    assert await Client(store).prune(Retention()) == PruneSummary()
    assert await left(store) == [1, 2]


async def test_what_has_not_ended_is_never_removed(store: Store) -> None:
    states = [TaskState.PENDING, TaskState.RETRYING, TaskState.SUSPENDED, TaskState.RUNNING, TaskState.QUARANTINED]
    await put(store, *(live(n, state) for n, state in enumerate(states)))
    nothing = timedelta(0)
    everything = Retention(completed=nothing, cancelled=nothing, failed=nothing, logs=nothing)
    assert await Client(store).prune(everything) == PruneSummary()
    assert await left(store) == [0, 1, 2, 3, 4]


async def test_a_task_that_was_removed_is_gone_with_its_history_and_lines(store: Store) -> None:
    await put(store, ended(1))
    await store.transact(lambda session: session.logs.append([line_of(session, 1)]))
    await Client(store).prune(WEEK)
    assert await Client(store).history(task_id(1)) == []
    assert await Client(store).logs(task_id(1)) == []
    with pytest.raises(TaskGone):
        await Client(store).wait(task_id(1), timeout_seconds=1)


async def test_old_lines_go_before_their_task_does(store: Store) -> None:
    await put(store, live(1, TaskState.RUNNING), ended(2, days=1))
    lines = [(1, 0, 20.0), (1, 1, 2.0), (2, 0, 20.0)]

    def append(session: Session) -> None:
        session.logs.append([line_of(session, n, ordinal=ordinal, days=days) for n, ordinal, days in lines])

    await store.transact(append)
    assert await Client(store).prune(Retention(completed=7 * DAY, logs=10 * DAY, batch=1)) == PruneSummary(logs=2)
    assert [line.ordinal for line in await Client(store).logs(task_id(1))] == [1]
    assert await left(store) == [1, 2]


def line_of(session: Session, n: int, *, ordinal: int = 0, days: float = 0) -> LogLine:
    (record,) = session.get([task_id(n)])
    return LogLine(record.id, record.fence, ordinal, session.now() - days * DAY, 20, "milepost.task", "working")


@pytest.mark.parametrize("value", [-DAY, 7, "a week"])
def test_an_age_that_is_none_is_refused_by_name(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Retention\.completed must be a timedelta of zero or more, or None"):
        Retention(completed=value)


@pytest.mark.parametrize("value", [0, -1, 2.5, True, 10_001])
def test_a_batch_is_a_whole_number_in_its_range(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Retention\.batch must be a whole number from 1 to 10000"):
        Retention(batch=value)


def test_an_executor_keeps_all_unless_it_is_given_a_retention() -> None:
    with pytest.raises(ConfigurationError, match=r"ExecutorConfig\.retention must be a Retention"):
        ExecutorConfig(retention=timedelta(days=1))  # type: ignore[arg-type]
    assert ExecutorConfig().retention is None


async def test_an_age_beyond_all_time_removes_nothing(store: Store) -> None:
    await put(store, ended(1))
    assert await Client(store).prune(Retention(completed=timedelta.max)) == PruneSummary()


# In small steps.


@final
class Counted(PassingStore):
    """A store that knows how many tasks each transaction removed."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.removed: list[int] = []

    async def transact(self, function: Callable[[Session], T], **options: Unpack[TransactOptions]) -> T:
        before = len(await left(self.inner))
        value = await super().transact(function, **options)
        self.removed.append(before - len(await left(self.inner)))
        return value


async def test_no_transaction_removes_more_than_a_batch(store: Store) -> None:
    await put(store, *(ended(n) for n in range(25)), *(ended(n, TaskState.FAILED) for n in range(25, 200)))
    await put(store, *(ended(n) for n in range(200, 212)))
    counted = Counted(store)
    retention = Retention(completed=7 * DAY, batch=10)
    assert await Client(counted).prune(retention) == PruneSummary(completed=37)
    assert max(counted.removed) <= 10
    assert sum(counted.removed) == 37


async def test_a_task_that_is_requeued_before_its_removal_stays(store: Store) -> None:
    await put(store, *(ended(n, TaskState.FAILED) for n in range(3)))
    now = await store.read(lambda session: session.now())
    retention = Retention(failed=DAY)
    page = await store.read(lambda session: prune.look(session, retention, after=None, now=now))
    assert isinstance(await Client(store).requeue(task_id(1)), Done)
    assert await store.transact(lambda session: prune.remove(session, page.tasks)) == PruneSummary(failed=2)
    assert await left(store) == [1]
    assert (await Client(store).get(task_id(1))).unwrap().state is TaskState.PENDING


@pytest.mark.slow
async def test_of_a_prune_and_requeues_at_once_each_task_has_one_fate(store: Store) -> None:
    ids = [task_id(n) for n in range(200)]
    await put(store, *(ended(n, TaskState.FAILED) for n in range(200)))
    barrier = threading.Barrier(2)
    requeued: list[TaskId] = []
    summaries: list[PruneSummary] = []

    def requeue() -> None:
        client = BlockingClient(store)
        barrier.wait()
        requeued.extend(id for id in reversed(ids) if isinstance(client.requeue(id), Done))

    def remove() -> None:
        client = BlockingClient(store)
        barrier.wait()
        summaries.append(client.prune(Retention(failed=DAY, batch=5)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, requeue)
        nursery.start_soon(trio.to_thread.run_sync, remove)
    assert sorted(requeued) == await store.read(lambda session: session.ids(TaskQuery().filter))
    assert summaries[0].failed == 200 - len(requeued)
    records = await store.read(lambda session: session.get(requeued))
    assert {record.state for record in records} <= {TaskState.PENDING}


# By executors.


@task
def noop(metadata: int, _: int) -> TaskResult[int, str]:
    return Success.with_result(metadata)


async def test_an_executor_removes_what_its_retention_does_not_keep(store: Store) -> None:
    await put(store, *(ended(n) for n in range(30)), ended(31, TaskState.FAILED), ended(32, days=1))
    await put(store, live(33, TaskState.PENDING), live(34, TaskState.SUSPENDED))
    handle = await Client(store).enqueue(noop.with_metadata(1))
    retention = Retention(completed=7 * DAY, batch=20)
    async with open_executor(store, [noop], config=quick(retention=retention, prune_seconds=0.01)) as executor:
        assert await handle.wait(5) == Success.with_result(1)
        await until(lambda: executor.statistics().pruned == 30, "what is old to be removed")
    assert await left(store) == [31, 32, 33, 34, int(handle.id[-12:], 16)]


async def test_a_retention_may_be_given_to_an_executor_that_runs(store: Store) -> None:
    await put(store, ended(1))
    config = quick(prune_seconds=0.01)
    async with open_executor(store, [noop], config=config) as executor:
        assert await (await Client(store).enqueue(noop.with_metadata(1))).wait(5) == Success.with_result(1)
        assert executor.statistics().pruned == 0
        executor.reconfigure(quick(prune_seconds=0.01, retention=WEEK))
        await until(lambda: executor.statistics().pruned == 1, "what is old to be removed")


async def test_a_store_that_is_away_ends_a_walk_and_not_the_executor(store: Store) -> None:
    await put(store, ended(1))
    failing = Failing(store)
    async with open_executor(failing, [noop], config=quick(prune_seconds=0.01, retention=WEEK)) as executor:
        await until(lambda: failing.failed > 2, "some walks to fail")
        failing.works = True
        await until(lambda: executor.statistics().pruned == 1, "what is old to be removed")


@final
class Failing(PassingStore):
    """A store whose reads fail, now as they do while a database restarts, now by a mistake."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.works = False
        self.failed = 0

    async def read(self, function: Callable[[Session], T]) -> T:
        if self.works:
            return await super().read(function)
        self.failed += 1
        raise StoreUnreachable("restarting") if self.failed % 2 else LookupError("a bug")


async def test_only_one_of_several_executors_walks_at_a_time(postgres_url: str) -> None:
    async with open_store(postgres_url) as store, open_store(postgres_url) as other:
        await put(store, ended(1))
        held, done = trio.Event(), threading.Event()

        def hold(session: Session) -> None:
            assert session.ends.is_only_one()
            trio.from_thread.run_sync(held.set, trio_token=token)
            done.wait(10)

        token = trio.lowlevel.current_trio_token()
        pruning = Pruning(store, lambda: quick(retention=WEEK))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other.transact, hold)
            await held.wait()
            await pruning.walk(WEEK)
            assert (pruning.total, await left(store)) == (PruneSummary(), [1])
            assert await Client(store).prune(WEEK) == PruneSummary(completed=1)
            done.set()
        await put(store, ended(2))
        await pruning.walk(WEEK)
        assert pruning.total == PruneSummary(completed=1)
