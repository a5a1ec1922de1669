"""What a failed attempt costs, when it is tried again, and which limits of time end it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Never

import pytest
import trio

from milepost import (
    Client,
    ConfigurationError,
    Crash,
    CrashKind,
    Execution,
    Failure,
    HistoryKind,
    Retry,
    StopKind,
    Store,
    Success,
    Suspended,
    TaskDefinitionError,
    TaskId,
    TaskQuery,
    TaskResult,
    TaskState,
    open_executor,
    open_store,
    task,
)
from milepost.errors import MilepostError
from tests.executor.kit import MovableClock, enqueue, kinds_of, quick, record_of, run, until_async, until_state

pytestmark = pytest.mark.anyio

NOTHING = timedelta(0)
HOUR = timedelta(hours=1)


class Flaky(Exception):
    pass


class VeryFlaky(Flaky):
    pass


async def test_by_default_an_exception_is_retried_later_and_the_slot_is_free_meanwhile(store: Store) -> None:
    @task
    def flaky(metadata: int, progress: int) -> TaskResult[int, str]:
        raise Flaky(f"attempt on {metadata}")

    @task
    def fine(metadata: int, progress: int) -> TaskResult[int, str]:
        return Success.with_result(metadata)

    (id,) = await enqueue(store, flaky.with_metadata(1))
    async with open_executor(store, [flaky, fine], config=quick(concurrency=1)) as executor:
        waiting = await until_state(store, id, TaskState.RETRYING)
        handle = await Client(store).enqueue(fine.with_metadata(2))
        assert await handle.wait(10) == Success.with_result(2)
        assert executor.statistics().running == 0
    assert waiting.due_at is not None
    assert waiting.executor is None
    (line,) = [each for each in await Client(store).history(id) if each.kind is HistoryKind.RETRY_SCHEDULED]
    # The default waits about a second before the first retry; jitter takes off up to half of it.
    assert timedelta(seconds=0.5) <= waiting.due_at - line.at <= timedelta(seconds=1)
    assert waiting.failures == 1
    assert waiting.crash is not None
    assert (waiting.crash.kind, waiting.crash.message) == (CrashKind.EXCEPTION, "attempt on 1")
    assert waiting.crash.type_name.endswith("Flaky")
    assert "raise Flaky" in waiting.crash.traceback


async def test_by_default_a_returned_failure_is_an_answer_and_final(store: Store) -> None:
    @task
    def refuse(metadata: int, progress: int) -> TaskResult[int, str]:
        return Failure.with_error("no")

    (id,) = await enqueue(store, refuse.with_metadata(1))
    async with open_executor(store, [refuse], config=quick()):
        record = await until_state(store, id, TaskState.FAILED)
    assert (record.error, record.crash, record.failures) == ("no", None, 0)


@pytest.mark.parametrize("fails_by", ["exception", "failure"])
@pytest.mark.parametrize(
    "policy",
    [
        Retry.fixed(2, NOTHING),
        Retry.delays([NOTHING, NOTHING]),
        Retry.exponential(2, timedelta(microseconds=1)),
        Retry.custom(2, lambda retry: timedelta(microseconds=retry)),
    ],
    ids=["fixed", "delays", "exponential", "custom"],
)
async def test_times_counts_retries_and_the_history_keeps_every_error(
    store: Store, policy: Retry, fails_by: str
) -> None:
    attempts: list[int] = []

    @task(retry=policy)
    async def flaky(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        attempts.append(execution.attempt)
        if fails_by == "exception":
            raise Flaky(f"error {len(attempts)}")
        return Failure.with_error(f"error {len(attempts)}")

    (id,) = await enqueue(store, flaky.with_metadata(1))
    async with open_executor(store, [flaky], config=quick()):
        await until_state(store, id, TaskState.FAILED)
    assert attempts == [1, 2, 3]
    lines = [each for each in await Client(store).history(id) if "error" in each.reason]
    assert [line.kind for line in lines] == [HistoryKind.RETRY_SCHEDULED] * 2 + [HistoryKind.FAILED]
    assert [f"error {n}" in line.reason for n, line in enumerate(lines, 1)] == [True] * 3


async def has_failed(store: Store, id: TaskId, times: int) -> bool:
    return (await record_of(store, id)).failures == times


async def test_the_delays_of_a_policy_are_stored_as_due_times(store: Store) -> None:
    clock = MovableClock()
    delays = [HOUR, 5 * HOUR]

    @task(retry=Retry.delays(delays))
    def flaky(metadata: int, progress: int) -> TaskResult[int, str]:
        raise Flaky

    async with open_store("memory:", clock=clock) as movable:
        (id,) = await enqueue(movable, flaky.with_metadata(1))
        for retry, delay in enumerate(delays, 1):
            async with open_executor(movable, [flaky], config=quick()):
                await until_async(partial(has_failed, movable, id, retry), f"failure {retry}")
            record = await record_of(movable, id)
            scheduled = [e for e in await Client(movable).history(id) if e.kind is HistoryKind.RETRY_SCHEDULED]
            assert len(scheduled) == retry
            assert record.due_at == scheduled[-1].at + delay
            clock.forward(delay)
        async with open_executor(movable, [flaky], config=quick()):
            await until_state(movable, id, TaskState.FAILED)


@pytest.mark.parametrize(
    ("policy", "raised", "attempts"),
    [
        (Retry.fixed(1, NOTHING).on(Flaky), VeryFlaky, 2),
        (Retry.fixed(1, NOTHING).on(Flaky), KeyError, 1),
        (Retry.fixed(1, NOTHING).except_on(Flaky), VeryFlaky, 1),
        (Retry.fixed(1, NOTHING).except_on(Flaky), KeyError, 2),
        (Retry.never(), Flaky, 1),
    ],
)
async def test_exceptions_are_retried_by_kind(
    store: Store, policy: Retry, raised: type[Exception], attempts: int
) -> None:
    @task(retry=policy)
    def flaky(metadata: int, progress: int) -> TaskResult[int, str]:
        raise raised

    (id,) = await enqueue(store, flaky.with_metadata(1))
    async with open_executor(store, [flaky], config=quick()):
        assert (await until_state(store, id, TaskState.FAILED)).attempt == attempts


@pytest.mark.parametrize(("error", "attempts"), [("busy", 3), ("broken", 1)])
async def test_when_decides_on_the_typed_error(store: Store, error: str, attempts: int) -> None:
    def is_busy(error: str) -> bool:
        return error == "busy"

    @task(retry=Retry.fixed(2, NOTHING).when(is_busy))
    def ask(metadata: int, progress: int) -> TaskResult[int, str]:
        return Failure.with_error(error)

    (id,) = await enqueue(store, ask.with_metadata(1))
    async with open_executor(store, [ask], config=quick()):
        assert (await until_state(store, id, TaskState.FAILED)).attempt == attempts


async def test_a_final_failure_is_not_retried_whatever_the_policy_says(store: Store) -> None:
    @task(retry=Retry.fixed(9, NOTHING))
    def refuse(metadata: int, progress: int) -> TaskResult[int, str]:
        return Failure.with_error("no").final()

    assert await run(store, [refuse], refuse.with_metadata(1)) == [Failure.with_error("no")]


async def test_retry_after_overrides_the_policy_and_its_number_of_times(store: Store) -> None:
    calls: list[int] = []

    @task
    def wait_for_it(metadata: int, progress: int) -> TaskResult[int, str]:
        calls.append(1)
        if len(calls) < 8:
            return Failure.with_error("not yet").retry_after(timedelta(milliseconds=1))
        return Success.with_result(len(calls))

    assert await run(store, [wait_for_it], wait_for_it.with_metadata(1)) == [Success.with_result(8)]


async def test_a_predicate_that_raises_is_a_crash_of_the_attempt_and_retried_as_such(store: Store) -> None:
    calls: list[int] = []

    def undecided(error: str) -> bool:
        raise LookupError("who knows")

    @task(retry=Retry.fixed(1, NOTHING).when(undecided))
    def ask(metadata: int, progress: int) -> TaskResult[int, str]:
        calls.append(1)
        return Failure.with_error("hm")

    (outcome,) = await run(store, [ask], ask.with_metadata(1))
    assert isinstance(outcome, Crash)
    assert (outcome.type_name, outcome.message, len(calls)) == ("LookupError", "who knows", 2)


async def test_a_schedule_that_raises_takes_nobody_else_down(store: Store) -> None:
    def broken(retry: int) -> timedelta:
        raise LookupError("no such delay")

    @task(retry=Retry.custom(3, broken))
    def flaky(metadata: int, progress: int) -> TaskResult[int, str]:
        raise Flaky

    @task
    def fine(metadata: int, progress: int) -> TaskResult[int, str]:
        return Success.with_result(metadata)

    ids = await enqueue(store, flaky.with_metadata(1), fine.with_metadata(1))
    async with open_executor(store, [flaky, fine], config=quick()):
        await until_state(store, ids[1], TaskState.COMPLETED)
        handle = await Client(store).enqueue(fine.with_metadata(2))
        assert await handle.wait(10) == Success.with_result(2)
    assert (await record_of(store, ids[0])).state is not TaskState.COMPLETED


@pytest.mark.parametrize("shielded", [False, True], ids=["plain", "shielded for a while"])
async def test_an_attempt_that_takes_too_long_is_cancelled_and_retried_by_policy(store: Store, shielded: bool) -> None:
    stops: list[StopKind] = []

    @task(timeout_seconds=0.05, retry=Retry.fixed(1, NOTHING))
    async def slow(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        with trio.CancelScope(shield=shielded):
            stops.append((await execution.wait_stopping()).kind)
        await trio.sleep_forever()

    (id,) = await enqueue(store, slow.with_metadata(1))
    async with open_executor(store, [slow], config=quick()):
        record = await until_state(store, id, TaskState.FAILED)
    assert record.crash is not None
    assert (record.crash.kind, record.attempt) == (CrashKind.TIMEOUT, 2)
    assert "0.05 seconds" in record.crash.message
    assert stops == ([StopKind.TIMEOUT] * 2 if shielded else [])


async def test_a_time_out_counts_as_a_timeout_error_for_the_policy(store: Store) -> None:
    @task(timeout_seconds=0.02, retry=Retry.fixed(3, NOTHING).except_on(TimeoutError))
    async def slow(metadata: int, progress: int) -> TaskResult[int, str]:
        await trio.sleep_forever()

    (outcome,) = await run(store, [slow], slow.with_metadata(1))
    assert isinstance(outcome, Crash)
    assert outcome.kind is CrashKind.TIMEOUT


async def test_a_run_that_returns_in_time_beside_its_time_limit_is_not_timed_out(store: Store) -> None:
    @task(timeout_seconds=5, deadline_seconds=10)
    async def fast(metadata: int, progress: int) -> TaskResult[int, str]:
        await trio.lowlevel.checkpoint()
        return Success.with_result(1)

    assert await run(store, [fast], fast.with_metadata(1)) == [Success.with_result(1)]


async def test_the_deadline_of_the_whole_task_ends_a_run_for_good(store: Store) -> None:
    stops: list[StopKind] = []

    @task(deadline_seconds=0.1, timeout_seconds=60, retry=Retry.fixed(9, NOTHING))
    async def slow(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        try:
            await trio.sleep_forever()
        finally:
            stops.append(execution.stopping.kind if execution.stopping else StopKind.CANCELLED)

    (id,) = await enqueue(store, slow.with_metadata(1))
    async with open_executor(store, [slow], config=quick()):
        record = await until_state(store, id, TaskState.FAILED)
    assert record.crash is not None
    assert (record.crash.kind, record.attempt, stops) == (CrashKind.DEADLINE, 1, [StopKind.DEADLINE])


async def test_a_task_whose_deadline_passed_while_it_waited_never_starts(store: Store) -> None:
    clock = MovableClock()
    calls: list[int] = []

    @task(deadline_seconds=60)
    def late(metadata: int, progress: int) -> TaskResult[int, str]:
        calls.append(1)
        return Suspended().after(HOUR)

    async with open_store("memory:", clock=clock) as movable:
        waiting, parked = await enqueue(movable, late.with_metadata(1).after(HOUR), late.with_metadata(2))
        async with open_executor(movable, [late], config=quick()):
            await until_state(movable, parked, TaskState.SUSPENDED)
        clock.forward(2 * HOUR)
        async with open_executor(movable, [late], config=quick()):
            records = [await until_state(movable, id, TaskState.FAILED) for id in (waiting, parked)]
    assert [record.crash.kind for record in records if record.crash] == [CrashKind.DEADLINE] * 2
    assert calls == [1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "waiting",
    [
        Suspended(),
        Suspended().after(HOUR),
        Suspended().until_event("paid", "order 7"),
        Suspended().until_event("paid", "order 7", within=HOUR),
        Failure.with_error("not yet").retry_after(HOUR),
    ],
    ids=["a proceed", "a later time", "an event", "an event for an hour", "its next attempt"],
)
async def test_the_deadline_ends_a_task_whatever_it_waits_for(
    store: Store, waiting: Suspended[Never, Never, Never] | Failure[Never, str]
) -> None:
    calls: list[int] = []

    @task(deadline_seconds=0.3)
    def patient(metadata: int, progress: int) -> TaskResult[int, str]:
        calls.append(metadata)
        return waiting

    async with open_executor(store, [patient], config=quick(poll_seconds=60)):
        handle = await Client(store).enqueue(patient.with_metadata(1))
        outcome = await handle.wait(timeout_seconds=10)
    assert isinstance(outcome, Crash)
    assert (outcome.kind, calls) == (CrashKind.DEADLINE, [1])


@pytest.mark.slow
async def test_the_deadline_ends_a_task_that_waits_for_its_children_and_they_go_on(store: Store) -> None:
    @task
    def child(metadata: int, progress: int) -> TaskResult[int, str]:
        return Suspended()

    @task(deadline_seconds=0.3)
    def parent(metadata: int, progress: int) -> TaskResult[int, str]:
        return Suspended().then_enqueue(child.with_metadata(1)).until_finished()

    async with open_executor(store, [parent, child], config=quick(poll_seconds=60)):
        handle = await Client(store).enqueue(parent.with_metadata(1))
        outcome = await handle.wait(timeout_seconds=10)
        (left,) = (await Client(store).search(TaskQuery().with_parent(handle.id))).records
        assert (await Client(store).proceed(left.id)).unwrap().state is TaskState.PENDING
    assert isinstance(outcome, Crash)
    assert outcome.kind is CrashKind.DEADLINE


async def test_a_requeue_opens_a_new_epoch_with_a_new_budget(store: Store) -> None:
    calls: list[int] = []

    @task(retry=Retry.fixed(1, NOTHING))
    async def flaky(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        calls.append(execution.attempt)
        await execution.commit(progress + 1)
        if len(calls) < 4:
            raise Flaky
        return Success.with_result(progress)

    (id,) = await enqueue(store, flaky.with_metadata(1))
    async with open_executor(store, [flaky], config=quick()):
        await until_state(store, id, TaskState.FAILED)
        await Client(store).requeue(id)
        record = await until_state(store, id, TaskState.COMPLETED)
    assert (calls, record.result, record.epoch) == ([1, 2, 1, 2], 3, 2)
    assert HistoryKind.REQUEUED in await kinds_of(store, id)


NONSENSE: list[tuple[Callable[[], object], type[MilepostError]]] = [
    (lambda: Retry.fixed(-1, NOTHING), ConfigurationError),
    (lambda: Retry.fixed(1, -HOUR), ConfigurationError),
    (lambda: Retry.delays([NOTHING, -HOUR]), ConfigurationError),
    (lambda: Retry.exponential(1, -HOUR), ConfigurationError),
    (lambda: Retry.exponential(1, HOUR, factor=0.5), ConfigurationError),
    (lambda: Retry.exponential(1, HOUR, factor=float("nan")), ConfigurationError),
    (lambda: Retry.fixed(1, HOUR).on(KeyError).except_on(KeyError), ConfigurationError),
    (lambda: task(timeout_seconds=0), TaskDefinitionError),
    (lambda: task(timeout_seconds=-1), TaskDefinitionError),
    (lambda: task(deadline_seconds=0), TaskDefinitionError),
    (lambda: task(deadline_seconds=float("inf")), TaskDefinitionError),
    (lambda: task(timeout_seconds=float("nan")), TaskDefinitionError),
    (lambda: quick(concurrency=0), ConfigurationError),
    (lambda: quick(concurrency=True), ConfigurationError),
    (lambda: quick(queues={}), ConfigurationError),
    (lambda: quick(queues={"default": 0}), ConfigurationError),
    (lambda: quick(lease_seconds=0), ConfigurationError),
    (lambda: quick(stall_seconds=-1), ConfigurationError),
    (lambda: quick(poll_seconds=float("inf")), ConfigurationError),
    (lambda: quick(effect_seconds=0), ConfigurationError),
    (lambda: quick(drain_seconds=-0.1), ConfigurationError),
    (lambda: quick(cleanup_seconds=float("nan")), ConfigurationError),
    (lambda: quick(stalls_max=0), ConfigurationError),
]


@pytest.mark.parametrize(("make", "refusal"), NONSENSE)
async def test_a_limit_that_makes_no_sense_is_refused_where_it_is_written(
    make: Callable[[], object], refusal: type[MilepostError]
) -> None:
    def nothing(metadata: int, progress: int) -> TaskResult[int, str]:
        return Success.with_result(1)

    def write_it() -> None:
        made = make()
        if callable(made):
            made(nothing)

    with pytest.raises(refusal):
        write_it()
