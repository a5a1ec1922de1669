"""A store that fails now and then: nothing acknowledged is lost, nothing is repeated, and everything goes on after."""

from __future__ import annotations

import itertools
import logging
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar, Unpack

import apsw
import pytest
import trio
from returns.result import Result
from returns.result import Success as Done

from milepost import (
    Client,
    Execution,
    HistoryKind,
    Statement,
    Store,
    Success,
    Task,
    TaskResult,
    TaskState,
    Transaction,
    open_executor,
    task,
)
from milepost.errors import (
    CommitUnknown,
    SchemaNewer,
    SchemaOld,
    StoreBusy,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreUnreachable,
)
from milepost.executor.turn import TurnReceipt
from milepost.stores.protocol import Session, TransactOptions
from milepost.stores.sqlite import SqliteStore
from milepost.stores.sqlite.driver import Place
from milepost.telemetry import StoreChanged, StoreCondition
from tests.executor.kit import (
    PassingStore,
    Recorder,
    enqueue,
    kinds_of,
    placeholders,
    quick,
    record_of,
    sql,
    until,
    until_state,
)

pytestmark = pytest.mark.anyio

T = TypeVar("T")


class FailingStore(PassingStore):
    """Fails before or after it has done what it was asked, at the rates that are set."""

    def __init__(self, inner: Store, seed: int) -> None:
        super().__init__(inner)
        self._random = random.Random(seed)
        self.before = self.after = 0.0
        self.fault: type[StoreError] = StoreUnreachable
        self.failed: Counter[str] = Counter()

    async def transact(self, function: Callable[[Session], T], **options: Unpack[TransactOptions]) -> T:
        await trio.lowlevel.checkpoint()
        self._fail("before")
        answer = await super().transact(function, **options)
        self._fail("after")
        return answer

    def transact_blocking(self, function: Callable[[Session], T], **options: Unpack[TransactOptions]) -> T:
        self._fail("before")
        answer = super().transact_blocking(function, **options)
        self._fail("after")
        return answer

    def _fail(self, when: str) -> None:
        if self._random.random() < (self.before if when == "before" else self.after):
            self.failed[when] += 1
            raise self.fault(f"failed {when} it was done")


class SyncNotes(PassingStore):
    """Notes of each turn whether it had to be durable, and whether it claimed or wrote."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.turns: list[tuple[bool, TurnReceipt]] = []

    async def transact(self, function: Callable[[Session], T], **options: Unpack[TransactOptions]) -> T:
        answer = await super().transact(function, **options)
        if isinstance(answer, TurnReceipt):
            self.turns.append((options.get("durable", True), answer))
        return answer


async def test_turns_that_carry_what_runs_handed_in_are_durable_and_those_that_only_claim_are_not(store: Store) -> None:
    notes = SyncNotes(store)
    handles = await Client(store).enqueue_all([book_nothing.with_metadata(n) for n in range(5)])
    async with open_executor(notes, [book_nothing], config=quick()):
        await until_state(store, handles[-1].id, TaskState.COMPLETED)
    assert all(durable for durable, receipt in notes.turns if receipt.written)
    assert not any(durable for durable, receipt in notes.turns if not receipt.written)
    assert sum(len(receipt.written) for _, receipt in notes.turns) == 2 * len(handles)


def assert_told_once_per_change(recorder: Recorder) -> None:
    told = [StoreCondition.UP, *(each.condition for each in recorder.of(StoreChanged))]
    assert all(one is not next for one, next in itertools.pairwise(told)), told
    assert told[-1] is StoreCondition.UP


INSERT = "insert into ledger values (?, ?)"


@task
async def book_nothing(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
    await execution.commit(1)
    return Success.with_result(metadata)


def booking(insert: str) -> Task[int, int, int, str]:
    """A task that writes one line with a commit and one with its result."""

    @task
    async def book(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        def entry(transaction: Transaction) -> Result[int, str]:
            transaction.execute(insert, (metadata, "with the commit"))
            return Done(1)

        await execution.commit(1)
        await execution.commit_with(entry, 2)
        await execution.commit(3)
        return Success.with_result(metadata).with_effects(Statement(insert, (metadata, "with the result")))

    return book


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
async def test_a_store_that_often_fails_loses_nothing_and_repeats_nothing(shared_store: Store, seed: int) -> None:
    await sql(shared_store, "create table ledger (task integer, what text)")
    book = booking(placeholders(shared_store, INSERT))
    failing = FailingStore(shared_store, seed)
    recorder = Recorder()
    handles = await Client(shared_store).enqueue_all([book.with_metadata(n) for n in range(20)])
    async with open_executor(failing, [book], config=quick(lease_seconds=1), observer=recorder) as executor:
        failing.before, failing.after = 0.2, 0.2
        # Until it has failed in both ways often enough to mean anything.
        failed = failing.failed
        await until(
            lambda: executor.statistics().ended >= 12 and min(failed["before"], failed["after"]) >= 5, seconds=30
        )
        failing.before = failing.after = 0.0
        assert [await handle.wait(30) for handle in handles] == [Success.with_result(n) for n in range(20)]
        await until(lambda: executor.statistics().store is StoreCondition.UP)
        more = await Client(shared_store).enqueue(book.with_metadata(20))
        assert await more.wait(10) == Success.with_result(20)
    entries = await sql(shared_store, "select task, what, count(*) from ledger group by 1, 2")
    assert sorted(entries) == [(n, f"with the {each}", 1) for n in range(21) for each in ("commit", "result")]
    for handle in handles:
        assert (await kinds_of(shared_store, handle.id)).count(HistoryKind.COMPLETED) == 1
        assert (await record_of(shared_store, handle.id)).attempt == 1
    assert_told_once_per_change(recorder)


@pytest.mark.slow
async def test_while_the_store_is_away_nothing_is_claimed_and_running_tasks_are_kept(store: Store) -> None:
    failing = FailingStore(store, 1)
    recorder = Recorder()
    started, finish = trio.Event(), trio.Event()

    @task
    async def sit(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        started.set()
        await finish.wait()
        await execution.commit(7)
        return Success.with_result(metadata)

    (id,) = await enqueue(store, sit.with_metadata(1))
    async with open_executor(failing, [sit], config=quick(lease_seconds=10), observer=recorder) as executor:
        await started.wait()
        failing.before = 1.0
        await until(lambda: executor.statistics().store is StoreCondition.UNREACHABLE)
        await enqueue(store, sit.with_metadata(2))
        finish.set()
        failures = failing.failed["before"]
        await until(lambda: failing.failed["before"] > failures + 3)
        assert (executor.statistics().claimed, executor.statistics().ended) == (1, 0)
        assert (await record_of(store, id)).execution_metadata == 0
        failing.before = 0.0
        await until(lambda: executor.statistics().ended == 2)
        assert executor.statistics().discarded == 0
    assert [each.condition for each in recorder.of(StoreChanged)] == [StoreCondition.UNREACHABLE, StoreCondition.UP]
    assert (await record_of(store, id)).fence == 1


@pytest.mark.parametrize(
    ("fault", "condition"),
    [
        (StoreUnreachable, StoreCondition.UNREACHABLE),
        (CommitUnknown, StoreCondition.UNREACHABLE),
        (StoreReadOnly, StoreCondition.READ_ONLY),
        (StoreFull, StoreCondition.FULL),
        (StoreBusy, StoreCondition.BUSY),
        (SchemaOld, StoreCondition.SCHEMA_OLD),
        (SchemaNewer, StoreCondition.SCHEMA_NEWER),
    ],
)
async def test_what_a_fault_says_of_the_store_is_told_once_and_logged_once(
    store: Store, fault: type[StoreError], condition: StoreCondition, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    failing, recorder = FailingStore(store, 1), Recorder()
    failing.fault = fault
    (id,) = await enqueue(store, book_nothing.with_metadata(1))
    async with open_executor(failing, [book_nothing], config=quick(), observer=recorder) as executor:
        failing.before = 1.0
        await until(lambda: executor.statistics().store is condition)
        failures = failing.failed["before"]
        await until(lambda: failing.failed["before"] > failures + 2)
        failing.before = 0.0
        await until_state(store, id, TaskState.COMPLETED)
    assert [each.condition for each in recorder.of(StoreChanged)] == [condition, StoreCondition.UP]
    assert [said for said in caplog.messages if said.startswith("the store is")] == [
        f"the store is {condition.value}: failed before it was done",
        "the store is up",
    ]


@pytest.mark.slow
async def test_a_store_that_stays_away_past_the_lease_costs_the_runs_but_no_task_an_attempt(store: Store) -> None:
    failing = FailingStore(store, 1)
    recorder = Recorder()
    starts: list[int] = []

    @task
    async def sit(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        starts.append(1)
        if len(starts) == 1:
            await trio.sleep_forever()
        return Success.with_result(metadata)

    (id,) = await enqueue(store, sit.with_metadata(1))
    async with open_executor(failing, [sit], config=quick(lease_seconds=0.4), observer=recorder) as executor:
        await until(lambda: starts)
        failing.before = 1.0
        await until(lambda: executor.statistics().discarded == 1)
        failing.before = 0.0
        record = await until_state(store, id, TaskState.COMPLETED)
        await until(lambda: executor.statistics().ended == 1)
    assert (record.attempt, record.failures, len(starts)) == (1, 0, 2)
    assert_told_once_per_change(recorder)


async def test_an_enqueue_that_a_failing_store_refuses_raises_and_one_that_it_did_is_there(store: Store) -> None:
    failing = FailingStore(store, 3)
    failing.before = 1.0
    with pytest.raises(StoreError):
        await Client(failing).enqueue(book_nothing.with_metadata(1))
    assert await store.read(lambda session: session.queues({"book_nothing": 1})) == []


PAGES = "pragma max_page_count = {}"


@pytest.mark.slow
async def test_a_full_store_keeps_what_was_acknowledged_and_goes_on_once_there_is_room(sqlite: Store) -> None:
    committed: list[int] = []

    @task
    async def grow(metadata: int, progress: str, execution: Execution[str]) -> TaskResult[int, str]:
        for number in range(20):
            await execution.commit("x" * 20_000 * (number + 1))
            committed.append(number)
        return Success.with_result(metadata)

    recorder = Recorder()
    handle = await Client(sqlite).enqueue(grow.with_metadata(1))
    async with open_executor(sqlite, [grow], config=quick(lease_seconds=60), observer=recorder) as executor:
        await until(lambda: len(committed) >= 2)
        ((pages,),) = await sql(sqlite, "pragma page_count")
        await sql(sqlite, PAGES.format(pages + 5))
        await until(lambda: executor.statistics().store is StoreCondition.FULL)
        record = await record_of(sqlite, handle.id)
        assert len(str(record.execution_metadata)) == 20_000 * len(committed)
        await sql(sqlite, PAGES.format(1_000_000))
        assert await handle.wait(20) == Success.with_result(1)
    assert len(committed) == 20
    assert (await record_of(sqlite, handle.id)).fence == 1
    assert [each.condition for each in recorder.of(StoreChanged)] == [StoreCondition.FULL, StoreCondition.UP]


@asynccontextmanager
async def impatient_store(path: Path) -> AsyncGenerator[SqliteStore]:
    store = SqliteStore(Place(str(path)), f"sqlite:///{path}", busy_seconds=0.05)
    try:
        await store.open()
        yield store
    finally:
        await store.aclose()


@pytest.mark.slow
async def test_a_file_that_another_program_keeps_locked_is_waited_for(tmp_path: Path) -> None:
    finish = trio.Event()

    @task
    async def sit(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        await finish.wait()
        await execution.commit(1)
        return Success.with_result(metadata)

    recorder = Recorder()
    async with impatient_store(tmp_path / "tasks.db") as store:
        handles = await Client(store).enqueue_all([sit.with_metadata(n) for n in range(3)])
        async with open_executor(store, [sit], config=quick(lease_seconds=30), observer=recorder) as executor:
            await until(lambda: executor.statistics().running == 3)
            other: Any = apsw.Connection(str(tmp_path / "tasks.db"))
            other.set_busy_timeout(5_000)  # the executor writes now and then, even while it only waits
            other.execute("begin immediate")
            finish.set()
            await until(lambda: executor.statistics().store is StoreCondition.BUSY)
            with pytest.raises(StoreBusy):
                await Client(store).enqueue(sit.with_metadata(9))
            assert executor.statistics().ended == 0
            other.execute("rollback")
            other.close()
            assert [await handle.wait(20) for handle in handles] == [Success.with_result(n) for n in range(3)]
            await until(lambda: executor.statistics().ended == 3)
            statistics = executor.statistics()
        assert (statistics.discarded, statistics.claimed) == (0, 3)
    assert [each.condition for each in recorder.of(StoreChanged)] == [StoreCondition.BUSY, StoreCondition.UP]
