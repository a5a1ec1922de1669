"""The lease: kept whatever user code does to trio's thread, given up by who is stuck, taken over from who is gone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar, Unpack, cast

import pytest
import trio
from returns.result import Success as Done

from milepost import (
    Client,
    Crash,
    CrashKind,
    Execution,
    Executor,
    HistoryKind,
    StopKind,
    Store,
    Success,
    TaskId,
    TaskRecord,
    TaskResult,
    TaskState,
    open_executor,
    open_store,
    task,
)
from milepost.errors import StoreUnreachable
from milepost.executor.turn import TurnReceipt
from milepost.stores.protocol import ClaimOrder, Session, TransactOptions
from milepost.telemetry import LeaseLost, LoopStalled, RunDiscarded
from milepost.testing.conformance.kit import sample_lease
from tests.executor.kit import (
    PATIENCE_SECONDS,
    MovableClock,
    PassingStore,
    Recorder,
    announce,
    enqueue,
    hold_thread,
    kinds_of,
    quick,
    record_of,
    until,
    until_state,
)

pytestmark = pytest.mark.anyio

T = TypeVar("T")


def claim_as(executor: str, name: str) -> Callable[[Session], list[TaskRecord]]:
    return lambda session: session.claim(ClaimOrder(executor, "default", {name: 1}, 10), now=session.now())


@contextmanager
def thief(store: Store, name: str, started: threading.Event) -> Generator[list[TaskRecord]]:
    """A living executor in a thread of its own, which takes over whatever the others let it once they have started."""
    stolen: list[TaskRecord] = []
    over = threading.Event()

    def steal() -> None:
        store.transact_blocking(lambda session: announce(session, "thief"))
        started.wait(PATIENCE_SECONDS)
        while not over.wait(0.02):
            stolen.extend(store.transact_blocking(claim_as("thief", name)))

    thread = threading.Thread(target=steal)
    thread.start()
    try:
        yield stolen
    finally:
        over.set()
        thread.join()


@pytest.mark.slow
async def test_user_code_that_blocks_the_thread_for_longer_than_the_lease_does_not_cost_it(store: Store) -> None:
    started = threading.Event()

    @task
    def block(metadata: int, progress: int) -> TaskResult[int, str]:
        started.set()
        hold_thread(1.2)
        return Success.with_result(1)

    @task
    async def wait_beside(metadata: int, progress: int) -> TaskResult[int, str]:
        await until(started.is_set)
        return Success.with_result(2)

    recorder = Recorder()
    ids = await enqueue(store, wait_beside.with_metadata(1), block.with_metadata(1))
    config = quick(lease_seconds=0.6)
    async with open_executor(store, [block, wait_beside], config=config, observer=recorder) as executor:
        with thief(store, "block", started) as stolen:
            assert [await Client(store).wait(id) for id in ids] == [Success.with_result(2), Success.with_result(1)]
        assert stolen == []
        assert executor.statistics().discarded == 0
    assert recorder.of(LeaseLost) == []
    assert recorder.of(LoopStalled) == []
    assert (await record_of(store, ids[1])).fence == 1


@pytest.mark.slow
async def test_an_executor_whose_thread_stands_still_for_too_long_is_relieved_and_drops_its_runs(store: Store) -> None:
    seen: list[StopKind | None] = []
    started = threading.Event()

    @task
    async def block(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        started.set()
        hold_thread(1.6)
        try:
            await trio.lowlevel.checkpoint()
            await execution.commit(9)
        finally:
            seen.append(execution.stopping.kind if execution.stopping else None)
        return Success.with_result(1)

    recorder = Recorder()
    (id,) = await enqueue(store, block.with_metadata(1))
    config = quick(lease_seconds=0.6, stall_seconds=0.3, poll_seconds=60)
    async with open_executor(store, [block], config=config, observer=recorder) as executor:
        before = executor.id
        with thief(store, "block", started) as stolen:
            await until(lambda: recorder.of(LeaseLost) and recorder.of(LoopStalled))
        await until(lambda: executor.statistics().running == 0)
        assert executor.id != before
        assert executor.statistics().discarded == 1
    assert [record.id for record in stolen] == [id]
    assert recorder.of(LoopStalled)[0].seconds > 0.3
    assert recorder.of(LeaseLost)[0].executor == before
    assert [each.id for each in recorder.of(RunDiscarded)] == [id]
    assert seen == [StopKind.CLAIM_LOST]
    record = await record_of(store, id)
    assert (record.executor, record.execution_metadata, record.failures, record.crash) == ("thief", 0, 0, None)


class LockOrder(PassingStore):
    """Notes in which order each transaction comes to what it locks."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.orders: list[list[str]] = []

    async def transact(self, function: Callable[[Session], T], **options: Unpack[TransactOptions]) -> T:
        def noted(session: Session) -> T:
            self.orders.append([])
            return function(cast("Session", Noting(session, self.orders[-1])))

        return await super().transact(noted, **options)

    def saw(self, *verbs: str) -> bool:
        """Whether one transaction did all of this."""
        return any({*verbs} <= {*order} for order in self.orders)


class Noting:
    """A session that notes each verb that it is asked for."""

    def __init__(self, session: Session, verbs: list[str]) -> None:
        self._session = session
        self._verbs = verbs

    def __getattr__(self, name: str) -> Any:
        self._verbs.append(name)
        return getattr(self._session, name)


async def test_every_transaction_writes_tasks_before_the_lease_so_that_no_two_wait_for_each_other(store: Store) -> None:
    noting = LockOrder(store)

    @task
    async def toil(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        while not noting.saw("report", "renew"):
            await execution.commit_with(lambda _: Done(1), progress := progress + 1)
            execution.report(0.5)
            await trio.sleep(0.005)
        return Success.with_result(1)

    (id,) = await enqueue(store, toil.with_metadata(1))
    async with open_executor(noting, [toil], config=quick(lease_seconds=0.6)):
        await until_state(store, id, TaskState.COMPLETED)
    for order in noting.orders:
        # Tasks that are claimed after it are locked already: a claim passes over what somebody else has locked.
        before_claims = order[: order.index("claim")] if "claim" in order else order
        if "renew" in before_claims:
            assert not {"get", "write", "report"} & {*before_claims[order.index("renew") :]}, order


async def test_an_executor_whose_machine_has_slept_does_not_take_over_from_itself() -> None:
    clock = MovableClock()
    started, finish = trio.Event(), trio.Event()

    @task
    async def sit(metadata: int, progress: int) -> TaskResult[int, str]:
        started.set()
        await finish.wait()
        return Success.with_result(1)

    async with open_store("memory:", clock=clock) as store:
        (id,) = await enqueue(store, sit.with_metadata(1))
        async with open_executor(store, [sit], config=quick(lease_seconds=30)) as executor:
            await started.wait()
            clock.forward(timedelta(hours=8))
            turns = executor.statistics().turns
            for number in range(5):
                await enqueue(store, sit.with_metadata(number))
            await until(lambda: executor.statistics().turns > turns + 5)
            finish.set()
            record = await until_state(store, id, TaskState.COMPLETED)
            assert executor.statistics().discarded == 0
    assert record.fence == 1


@pytest.mark.parametrize("takes_over", [True, False], ids=["and another takes over", "and nobody takes over"])
async def test_a_lease_deleted_behind_its_back_makes_it_drop_its_runs_and_go_on_under_a_new_id(
    store: Store, takes_over: bool
) -> None:
    starts: list[int] = []
    stops: list[StopKind | None] = []
    finish = trio.Event()

    @task
    async def sit(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        starts.append(progress)
        try:
            await execution.commit(progress + 1)
            await finish.wait()
        finally:
            stops.append(execution.stopping.kind if execution.stopping else None)
        return Success.with_result(progress)

    recorder = Recorder()
    (id,) = await enqueue(store, sit.with_metadata(1))
    async with open_executor(store, [sit], config=quick(lease_seconds=0.6), observer=recorder) as executor:
        await until(lambda: executor.statistics().commits == 1)
        before = executor.id

        def delete(session: Session) -> None:
            session.close_lease(before)
            if takes_over:
                announce(session, "thief")
                assert [record.id for record in claim_as("thief", "sit")(session)] == [id]

        await store.transact(delete)
        await until(lambda: stops, "the run to be dropped")
        await until(lambda: recorder.of(LeaseLost))
        assert stops == [StopKind.CLAIM_LOST]
        assert executor.id != before
        if not takes_over:
            await until(lambda: starts == [0, 1], "the task to be taken up again")
        finish.set()
        if not takes_over:
            assert await Client(store).wait(id) == Success.with_result(1)
    record = await record_of(store, id)
    assert (record.failures, record.crash) == (0, None)
    assert record.executor == ("thief" if takes_over else None)
    assert HistoryKind.RETRY_SCHEDULED not in await kinds_of(store, id)


@pytest.mark.parametrize("lease", ["over", "missing"])
async def test_the_rows_of_a_dead_executor_are_taken_up_from_their_last_commit(store: Store, lease: str) -> None:
    @task
    async def resume(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        return Success.with_result(progress + execution.attempt)

    ids = await enqueue(store, *(resume.with_metadata(n).with_execution_metadata(5) for n in range(4)))

    def die(session: Session) -> None:
        if lease == "over":
            announce(session, "dead", timedelta(microseconds=-1))
        assert len(claim_as("dead", "resume")(session)) == 4

    await store.transact(die)
    async with open_executor(store, [resume], config=quick()):
        assert [await Client(store).wait(id) for id in ids] == [Success.with_result(6)] * 4
    for id in ids:
        assert HistoryKind.RECLAIMED in await kinds_of(store, id)
        assert (await record_of(store, id)).fence == 2


async def test_the_rows_of_a_living_executor_are_left_alone(store: Store) -> None:
    @task
    def resume(metadata: int, progress: int) -> TaskResult[int, str]:
        return Success.with_result(1)

    (id,) = await enqueue(store, resume.with_metadata(1))
    await store.transact(lambda session: announce(session, "alive"))
    await store.transact(claim_as("alive", "resume"))
    async with open_executor(store, [resume], config=quick()) as executor:
        await until(lambda: executor.statistics().turns > 3)
        assert executor.statistics().claimed == 0
    assert (await record_of(store, id)).executor == "alive"


@pytest.mark.parametrize("stalls_max", [1, 5])
async def test_a_task_that_takes_every_executor_down_with_it_is_quarantined_unrun(
    store: Store, stalls_max: int
) -> None:
    calls: list[int] = []

    @task
    def deadly(metadata: int, progress: int) -> TaskResult[int, str]:
        calls.append(1)
        return Success.with_result(1)

    (id,) = await enqueue(store, deadly.with_metadata(1))
    for number in range(stalls_max):
        assert await store.transact(claim_as(f"dead-{number}", "deadly")) != []
    async with open_executor(store, [deadly], config=quick(stalls_max=stalls_max)):
        outcome = await Client(store).wait(id)
        record = await record_of(store, id)
        assert record.state is TaskState.QUARANTINED
        await Client(store).requeue(id)
        assert await Client(store).wait(id) == Success.with_result(1)
    assert isinstance(outcome, Crash)
    assert (outcome.kind, outcome.message) == (CrashKind.STALLED, f"claimed {stalls_max} times without progress")
    assert (record.failures, record.executor, calls) == (0, None, [1])


class LosesReplies(PassingStore):
    """Commits what it is asked, and then says that it could not, once for what `is_unlucky`."""

    def __init__(self, inner: Store, is_unlucky: Callable[[object], bool]) -> None:
        super().__init__(inner)
        self.is_unlucky = is_unlucky
        self.lost = 0

    async def transact(self, function: Callable[[Session], T], **options: Unpack[TransactOptions]) -> T:
        answer = await super().transact(function, **options)
        if not self.lost and self.is_unlucky(answer):
            self.lost += 1
            raise StoreUnreachable("the connection broke before the answer came")
        return answer


async def test_a_claim_whose_reply_was_lost_is_given_back_and_taken_again(store: Store) -> None:
    calls: list[int] = []

    @task
    def count(metadata: int, progress: int) -> TaskResult[int, str]:
        calls.append(metadata)
        return Success.with_result(1)

    unlucky = LosesReplies(store, lambda answer: isinstance(answer, TurnReceipt) and bool(answer.claimed))
    ids = await enqueue(store, *(count.with_metadata(n) for n in range(5)))
    async with open_executor(unlucky, [count], config=quick()):
        assert [await Client(store).wait(id, timeout_seconds=10) for id in ids] == [Success.with_result(1)] * 5
    assert unlucky.lost == 1
    assert sorted(calls) == list(range(5))
    for id in ids:
        record = await record_of(store, id)
        assert (record.fence, record.attempt, record.interruptions) == (2, 1, 1)


def has_ended_one(executor: Executor) -> bool:
    return executor.statistics().ended == 1


async def test_an_end_and_a_commit_whose_replies_were_lost_are_not_repeated(store: Store) -> None:
    calls: list[int] = []

    @task
    async def step(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        calls.append(1)
        await execution.commit(5)
        assert execution.idempotency_key.endswith(":1")
        return Success.with_result(1)

    def carries(kind: TaskState) -> Callable[[object], bool]:
        return lambda answer: (
            isinstance(answer, TurnReceipt) and any(each is not None and each.state is kind for each in answer.written)
        )

    for kind in (TaskState.RUNNING, TaskState.COMPLETED):
        calls.clear()
        unlucky = LosesReplies(store, carries(kind))
        (id,) = await enqueue(store, step.with_metadata(1))
        async with open_executor(unlucky, [step], config=quick()) as executor:
            record = await until_state(store, id, TaskState.COMPLETED)
            await until(partial(has_ended_one, executor))
        assert (unlucky.lost, calls, record.sequence, record.fence) == (1, [1], 1, 1)


async def test_the_ids_of_two_executors_are_never_the_same(store: Store) -> None:
    seen: set[TaskId | str] = set()
    for _ in range(5):
        async with open_executor(store, []) as executor:
            seen.add(executor.id)
    assert len(seen) == 5


async def test_a_lease_that_ended_long_ago_is_forgotten_once_nothing_is_owned_under_it(store: Store) -> None:
    @task
    def idle(metadata: int, progress: int) -> TaskResult[int, str]:
        return Success.with_result(1)

    def announce_the_dead(session: Session) -> None:
        long_ago = session.now() - timedelta(hours=2)
        for name, ended in (("long dead", long_ago), ("just dead", session.now())):
            session.open_lease(sample_lease(name, ended))

    await store.transact(announce_the_dead)
    async with open_executor(store, [idle]) as executor:
        known = {lease.executor for lease in await store.read(lambda session: session.leases())}
        assert known == {"just dead", executor.id}
