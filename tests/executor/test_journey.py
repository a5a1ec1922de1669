"""A task's journey: from the request to the outcome, in every shape, by every result, over suspensions and commits."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, Unpack

import pytest
import trio
import trio.testing
from attrs import frozen

from milepost import (
    BlockingExecution,
    Cancellation,
    Client,
    Crash,
    CrashKind,
    Execution,
    Failure,
    HistoryKind,
    Retry,
    Statement,
    Store,
    Success,
    Suspended,
    TaskResult,
    TaskState,
    open_executor,
    task,
)
from milepost.executor.turn import TurnReceipt
from milepost.stores.protocol import Session, TransactOptions
from tests.executor import cpu_tasks
from tests.executor.kit import (
    AnyTask,
    PassingStore,
    enqueue,
    kinds_of,
    placeholders,
    quick,
    record_of,
    run,
    sql,
    until_async,
    until_state,
)

pytestmark = pytest.mark.anyio

T = TypeVar("T")


class LateAnswers(PassingStore):
    """Keeps the answer of a turn that found nothing until it is let through."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.found_nothing, self.go = trio.Event(), trio.Event()

    async def transact(self, function: Callable[[Session], T], **options: Unpack[TransactOptions]) -> T:
        answer = await super().transact(function, **options)
        if isinstance(answer, TurnReceipt) and not answer.claimed and not self.found_nothing.is_set():
            self.found_nothing.set()
            await self.go.wait()
        return answer


NOW_AND_THEN = Retry.fixed(3, timedelta(0))


@task
def double(metadata: int, progress: int) -> TaskResult[int, str]:
    return Success.with_result(metadata * 2)


@task
async def double_later(metadata: int, progress: int) -> TaskResult[int, str]:
    await trio.lowlevel.checkpoint()
    return Success.with_result(metadata * 2)


@task
async def double_in_steps(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
    await execution.commit(metadata)
    return Success.with_result(metadata * 2)


@task(blocking=True)
def double_on_a_thread(metadata: int, progress: int) -> TaskResult[int, str]:
    return Success.with_result(metadata * 2)


@task(blocking=True)
def double_on_a_thread_in_steps(
    metadata: int, progress: int, execution: BlockingExecution[int]
) -> TaskResult[int, str]:
    execution.commit(metadata)
    return Success.with_result(metadata * 2)


@pytest.mark.parametrize(
    "shaped",
    [double, double_later, double_in_steps, double_on_a_thread, double_on_a_thread_in_steps],
    ids=lambda shaped: shaped.name,
)
async def test_a_task_of_each_shape_reaches_its_outcome(store: Store, shaped: AnyTask) -> None:
    assert await run(store, [shaped], *(shaped.with_metadata(n) for n in range(5))) == [
        Success.with_result(2 * n) for n in range(5)
    ]


@pytest.mark.slow
async def test_a_cpu_bound_task_runs_in_another_process_and_answers_as_any_other(store: Store) -> None:
    tasks = [cpu_tasks.double_in_a_process, cpu_tasks.process_of, cpu_tasks.fail_in_a_process]
    doubled, process, failed = await run(store, tasks, *(each.with_metadata(21) for each in tasks))
    assert (doubled, failed) == (Success.with_result(42), Failure.with_error("too hard"))
    import os

    assert isinstance(process, Success)
    assert process.result != os.getpid()


@pytest.mark.slow
async def test_what_a_cpu_bound_task_raises_is_a_crash_with_its_own_type(store: Store) -> None:
    raising = cpu_tasks.raise_in_a_process
    (id,) = await enqueue(store, raising.with_metadata(1))
    async with open_executor(store, [raising], config=quick()):
        record = await until_state(store, id, TaskState.RETRYING)
    assert record.crash is not None
    assert (record.crash.type_name, record.crash.message) == ("LookupError", "nothing there")


@frozen
class Kept:
    name: str


@frozen
class Refused:
    why: str


ANSWERS: list[tuple[Callable[[], TaskResult[Kept, Refused]], TaskState]] = [
    (lambda: Success.with_result(Kept("a")), TaskState.COMPLETED),
    (lambda: Failure.with_error(Refused("no")), TaskState.FAILED),
    (lambda: Cancellation.with_error(Refused("enough")), TaskState.CANCELLED),
]


@pytest.mark.parametrize(("answer", "state"), ANSWERS, ids=["success", "failure", "cancellation"])
async def test_each_final_result_is_stored_and_read_back_typed(
    store: Store, answer: Callable[[], TaskResult[Kept, Refused]], state: TaskState
) -> None:
    @task
    def answering(metadata: int, progress: int) -> TaskResult[Kept, Refused]:
        return answer()

    (id,) = await enqueue(store, answering.with_metadata(1))
    async with open_executor(store, [answering], config=quick()):
        record = await until_state(store, id, state)
    handle_free = await Client(store).wait(id)
    assert type(handle_free) is type(answer())
    (outcome,) = await run(store, [answering], answering.with_metadata(2))
    assert outcome == answer()
    assert (record.executor, record.due_at, record.attempt) == (None, None, 1)


async def test_a_suspended_task_without_a_wake_up_holds_no_slot_and_stays_until_somebody_ends_it(store: Store) -> None:
    @task
    def park(metadata: int, progress: int) -> TaskResult[int, str, int]:
        return Suspended(metadata)

    (id,) = await enqueue(store, park.with_metadata(7))
    async with open_executor(store, [park, double], config=quick(concurrency=1)) as executor:
        parked = await until_state(store, id, TaskState.SUSPENDED)
        assert (parked.execution_metadata, parked.due_at, parked.executor) == (7, None, None)
        handle = await Client(store).enqueue(double.with_metadata(3))
        assert await handle.wait(10) == Success.with_result(6)
        assert executor.statistics().running == 0
    assert (await record_of(store, id)).state is TaskState.SUSPENDED


WAKES: dict[str, Callable[[Suspended[Any, Any, Any]], Suspended[Any, Any, Any]]] = {
    "until": lambda parked: parked.until(datetime.now(UTC) + timedelta(milliseconds=20)),
    "until a moment that is past": lambda parked: parked.until(datetime.now(UTC) - timedelta(days=1)),
    "after": lambda parked: parked.after(timedelta(milliseconds=20)),
    "at once": lambda parked: parked.at_once(),
}


@pytest.mark.parametrize("wake", WAKES.values(), ids=WAKES)
@pytest.mark.parametrize("carries", [True, False], ids=["with progress", "without progress"])
async def test_a_suspended_task_resumes_by_itself(
    store: Store, wake: Callable[[Suspended[Any, Any, Any]], Suspended[Any, Any, Any]], carries: bool
) -> None:
    seen: list[int] = []

    @task
    def resume(metadata: int, progress: int) -> TaskResult[int, str, int]:
        seen.append(progress)
        if len(seen) < 3:
            return wake(Suspended(len(seen)) if carries else Suspended())
        return Success.with_result(metadata)

    (id,) = await enqueue(store, resume.with_metadata(5))
    async with open_executor(store, [resume], config=quick()):
        record = await until_state(store, id, TaskState.COMPLETED)
    assert seen == ([0, 1, 2] if carries else [0, 0, 0])
    assert (record.sequence, record.attempt) == (2 if carries else 0, 1)
    assert (await kinds_of(store, id)).count(HistoryKind.SUSPENDED) == 2


async def test_a_task_that_resumes_at_once_without_progress_for_ever_ends_in_quarantine(store: Store) -> None:
    calls: list[int] = []

    @task
    def spin(metadata: int, progress: int) -> TaskResult[int, str]:
        calls.append(1)
        return Suspended().at_once()

    (outcome,) = await run(store, [spin], spin.with_metadata(1))
    assert isinstance(outcome, Crash)
    assert (outcome.kind, len(calls)) == (CrashKind.STALLED, 5)


async def test_a_retried_attempt_goes_on_from_the_last_commit(store: Store) -> None:
    starts: list[int] = []

    @task(retry=NOW_AND_THEN)
    async def climb(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        starts.append(progress)
        for step in range(progress + 1, progress + 3):
            await execution.commit(step)
        if progress < 4:
            raise RuntimeError("slipped")
        return Success.with_result(progress)

    (outcome,) = await run(store, [climb], climb.with_metadata(1))
    assert (outcome, starts) == (Success.with_result(4), [0, 2, 4])


async def test_a_report_is_seen_while_the_task_runs_and_the_latest_wins(store: Store) -> None:
    finish = trio.Event()

    @task
    async def tell(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        execution.report(0.1, "early")
        execution.report(7, "half")
        execution.report(float("nan"), "not a number is not told")
        await finish.wait()
        return Success.with_result(1)

    (id,) = await enqueue(store, tell.with_metadata(1))
    async with open_executor(store, [tell], config=quick()):

        async def told() -> bool:
            record = await record_of(store, id)
            return (record.progress, record.progress_note) == (1.0, "half")

        await until_async(told, "the report")
        finish.set()


async def test_a_report_that_no_database_holds_is_told_escaped_and_fails_nothing(store: Store) -> None:
    finish = trio.Event()

    @task
    async def tell(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        execution.report(0.5, "half \ud800\0")
        await finish.wait()
        return Success.with_result(1)

    (id,) = await enqueue(store, tell.with_metadata(1))
    async with open_executor(store, [tell], config=quick()):

        async def told() -> bool:
            return (await record_of(store, id)).progress is not None

        await until_async(told, "the report")
        assert (await record_of(store, id)).progress_note == "half \\ud800\\0"
        finish.set()


async def test_the_idempotency_key_is_the_same_after_a_crash_and_new_after_a_commit(store: Store) -> None:
    keys: list[str] = []

    @task(retry=NOW_AND_THEN)
    async def charge(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        keys.append(execution.idempotency_key)
        if progress == 0 and len(keys) == 1:
            raise RuntimeError("before the commit")
        if progress == 0:
            await execution.commit(1)
            keys.append(execution.idempotency_key)
            raise RuntimeError("after the commit")
        return Success.with_result(1)

    await run(store, [charge], charge.with_metadata(1))
    first, again, committed, after_crash = keys
    assert first == again
    assert committed == after_crash
    assert first != committed


async def test_an_execution_knows_its_id_key_and_attempt_and_its_log_carries_the_task(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[str, str | None, int]] = []

    @task(retry=NOW_AND_THEN)
    async def curious(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        told.append((execution.id, execution.key, execution.attempt))
        execution.log.warning("hello")
        if execution.attempt < 2:
            raise RuntimeError
        return Success.with_result(1)

    with caplog.at_level(logging.WARNING, "milepost.task"):
        (id,) = await enqueue(store, curious.with_metadata(1).with_key("users"))
        async with open_executor(store, [curious], config=quick()):
            await until_state(store, id, TaskState.COMPLETED)
    assert told == [(id, "users", 1), (id, "users", 2)]
    lines = [vars(each) for each in caplog.records if each.name == "milepost.task"]
    assert [(line["task_id"], line["task_name"], line["attempt"]) for line in lines] == [
        (id, "curious", 1),
        (id, "curious", 2),
    ]


@frozen
class Waiting:
    for_whom: str = ""


@frozen
class Paid:
    cents: int


@frozen
class Sent:
    parcel: str


async def test_every_member_of_a_union_comes_back_as_itself(store: Store) -> None:
    seen: list[Waiting | Paid | Sent] = []

    @task
    async def order(
        metadata: Paid | Sent, progress: Waiting | Paid | Sent, execution: Execution[Waiting | Paid | Sent]
    ) -> TaskResult[Paid | Sent, Waiting | Paid, Waiting | Paid | Sent]:
        seen.append(progress)
        if isinstance(progress, Waiting):
            return Suspended(Paid(5)).at_once()
        if isinstance(progress, Paid):
            await execution.commit(Sent("x"))
            return Suspended().at_once()
        return Success.with_result(metadata)

    requests = [order.with_metadata(each).with_execution_metadata(Waiting("ada")) for each in (Paid(1), Sent("y"))]
    outcomes = await run(store, [order], *requests, config=quick(concurrency=1))
    assert outcomes == [Success.with_result(Paid(1)), Success.with_result(Sent("y"))]
    assert sorted(map(str, seen)) == sorted(map(str, [Waiting("ada"), Paid(5), Sent("x")] * 2))


INSERT = "insert into symbol values (?)"


async def symbols(store: Store) -> list[str]:
    return [name for (name,) in await sql(store, "select name from symbol order by name")]


async def test_the_effects_of_a_result_happen_with_it(sql_store: Store) -> None:
    await sql(sql_store, "create table symbol (name text unique)")
    insert = placeholders(sql_store, INSERT)

    @task
    def index(metadata: int, progress: int) -> TaskResult[int, str, int]:
        if progress == 0:
            return Suspended(1).at_once().with_effects(Statement(insert, ("parked",)))
        effects = (
            Statement(insert, ("a",)),
            Statement.many(placeholders(sql_store, "insert into symbol values (:n)"), [{"n": "b"}, {"n": "c"}]),
        )
        return Success.with_result(1).with_effects(*effects)

    assert await run(sql_store, [index], index.with_metadata(1)) == [Success.with_result(1)]
    assert await symbols(sql_store) == ["a", "b", "c", "parked"]


async def test_a_failing_statement_is_a_crash_of_the_attempt_and_nothing_of_the_result_is_stored(
    sql_store: Store,
) -> None:
    await sql(sql_store, "create table symbol (name text unique)")
    insert = placeholders(sql_store, INSERT)

    @task(retry=NOW_AND_THEN)
    def index(metadata: int, progress: int) -> TaskResult[int, str, int]:
        effects = [Statement(insert, ("a",)), Statement("insert into nowhere values (1)")]
        return Success.with_result(1).with_effects(*effects)

    neighbour, broken = await enqueue(sql_store, double.with_metadata(1), index.with_metadata(1))
    async with open_executor(sql_store, [index, double], config=quick()):
        record = await until_state(sql_store, broken, TaskState.FAILED)
        await until_state(sql_store, neighbour, TaskState.COMPLETED)
    assert await symbols(sql_store) == []
    assert record.crash is not None
    assert record.crash.kind is CrashKind.EXCEPTION
    assert "nowhere" in record.crash.message
    assert (record.attempt, record.result) == (4, None)


async def test_the_effects_of_a_suspension_and_its_progress_are_all_or_nothing(sql_store: Store) -> None:
    await sql(sql_store, "create table symbol (name text unique)")
    insert = placeholders(sql_store, INSERT)
    starts: list[int] = []

    @task(retry=NOW_AND_THEN)
    def index(metadata: int, progress: int) -> TaskResult[int, str, int]:
        starts.append(progress)
        if progress == 0:
            name = "again" if len(starts) < 3 else "new"
            return Suspended(1).at_once().with_effects(Statement(insert, (name,)), Statement(insert, ("again",)))
        return Success.with_result(1)

    assert await run(sql_store, [index], index.with_metadata(1)) == [Success.with_result(1)]
    assert starts == [0, 0, 0, 1]
    assert await symbols(sql_store) == ["again", "new"]


async def test_effects_on_a_store_without_sql_are_a_crash_that_says_so() -> None:
    from milepost import open_store

    @task(retry=Retry.never())
    def index(metadata: int, progress: int) -> TaskResult[int, str]:
        return Success.with_result(1).with_effects(Statement(INSERT, ("a",)))

    async with open_store("memory:") as store:
        (outcome,) = await run(store, [index], index.with_metadata(1))
    assert isinstance(outcome, Crash)
    assert "the memory store has no SQL" in outcome.message


async def test_a_thousand_tasks_reach_their_outcomes(store: Store) -> None:
    assert await run(store, [double_later], *(double_later.with_metadata(n) for n in range(300))) == [
        Success.with_result(2 * n) for n in range(300)
    ]


async def test_a_task_that_is_enqueued_while_a_turn_finds_nothing_starts_without_waiting_for_the_next_poll(
    store: Store,
) -> None:
    late = LateAnswers(store)
    with trio.fail_after(10):
        async with open_executor(late, [double], config=quick(poll_seconds=60)):
            await late.found_nothing.wait()
            (id,) = await enqueue(store, double.with_metadata(1))
            await trio.testing.wait_all_tasks_blocked()  # the executor has heard of it
            late.go.set()
            await until_state(store, id, TaskState.COMPLETED)
