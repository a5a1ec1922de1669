"""A task that has not started by its start deadline ends instead of starting late."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import pytest

from milepost import (
    Client,
    Crash,
    CrashKind,
    HistoryKind,
    Store,
    Success,
    Suspended,
    TaskDefinitionError,
    TaskRecord,
    TaskResult,
    TaskState,
    open_executor,
    open_store,
    task,
)
from milepost.lifecycle import events
from milepost.lifecycle.change import Transition
from milepost.lifecycle.transition import transition
from milepost.stores.protocol import Session
from tests.executor.kit import MovableClock, change, enqueue, quick, record_of, run, until_state

pytestmark = pytest.mark.anyio

MINUTE = timedelta(minutes=1)
CLAIMED = events.Claimed("ada", "token")


@task(start_within_seconds=60)
def prompt(metadata: int, progress: int) -> TaskResult[int, str]:
    return Success.with_result(metadata)


@task
def patient(metadata: int, progress: int) -> TaskResult[int, str]:
    return Suspended() if metadata == 0 and progress == 0 else Success.with_result(metadata)


async def test_a_task_that_starts_in_time_knows_nothing_of_it(store: Store) -> None:
    requests = prompt.with_metadata(1), patient.with_metadata(2).start_within(MINUTE)
    assert await run(store, [prompt, patient], *requests) == [Success(1), Success(2)]


async def test_a_task_that_waited_too_long_ends_and_says_by_when_it_should_have_started() -> None:
    clock = MovableClock()
    async with open_store("memory:", clock=clock) as store:
        ids = await enqueue(store, prompt.with_metadata(1), patient.with_metadata(2).start_within(MINUTE / 2))
        clock.forward(2 * MINUTE)
        async with open_executor(store, [prompt, patient], config=quick()):
            records = [await until_state(store, id, TaskState.FAILED) for id in ids]
        assert [record.crash for record in records] == [
            Crash(
                CrashKind.DEADLINE,
                f"not started by its start deadline, which was {(record.created_at + late).isoformat()}",
            )
            for record, late in zip(records, (MINUTE, MINUTE / 2), strict=True)
        ]
        assert [line.kind for line in await Client(store).history(ids[0])] == [
            HistoryKind.ENQUEUED,
            HistoryKind.CLAIMED,
            HistoryKind.FAILED,
        ]


async def test_the_time_counts_from_when_the_task_falls_due_and_the_request_overrides_the_task(store: Store) -> None:
    requests: list[Any] = [
        prompt.with_metadata(1),
        prompt.with_metadata(1).after(MINUTE),
        prompt.with_metadata(1).after(MINUTE).start_within(5 * MINUTE),
        patient.with_metadata(1).after(MINUTE),
    ]
    records = [await record_of(store, id) for id in await enqueue(store, *requests)]
    waits = [record.start_by and record.start_by - record.created_at for record in records]
    assert waits == [MINUTE, 2 * MINUTE, 6 * MINUTE, None]


async def test_a_claim_that_was_given_back_unused_is_no_start_and_one_that_was_begun_is() -> None:
    clock = MovableClock()
    async with open_store("memory:", clock=clock) as store:
        ids = await enqueue(store, *(patient.with_metadata(0).start_within(MINUTE) for _ in range(2)))
        for id in ids:
            claimed = await change(store, id, CLAIMED)
            assert claimed.started_at is not None
        started = await change(store, ids[0], events.Suspended(None, MINUTE))
        assert started.started_at is not None
        clock.forward(2 * MINUTE)
        async with open_executor(store, [patient], config=quick(stall_seconds=300)):
            # The executor that claimed the second has no lease: what it began is taken over, and has started.
            for id in ids:
                await until_state(store, id, TaskState.SUSPENDED)


async def test_a_suspect_that_has_to_wait_for_another_has_not_started(store: Store) -> None:
    (id,) = await enqueue(store, prompt.with_metadata(1))

    def claim_and_defer(session: Session) -> list[TaskRecord]:
        now = session.now()
        (record,) = session.get([id])
        seen = [record]
        for event in (CLAIMED, events.Deferred(MINUTE)):
            decided = transition(seen[-1], event, now=now)
            assert isinstance(decided, Transition)
            assert session.write([decided]) == [True]
            seen.append(decided.after)
        return seen

    _, claimed, deferred = await store.transact(claim_and_defer)
    assert claimed.started_at is not None
    assert (deferred.state, deferred.started_at, deferred.start_by) == (TaskState.PENDING, None, claimed.start_by)
    assert await record_of(store, id) == deferred


async def test_a_requeue_asks_for_no_prompt_start() -> None:
    clock = MovableClock()
    async with open_store("memory:", clock=clock) as store:
        (id,) = await enqueue(store, prompt.with_metadata(1))
        clock.forward(2 * MINUTE)
        async with open_executor(store, [prompt], config=quick()):
            await until_state(store, id, TaskState.FAILED)
        requeued = (await Client(store).requeue(id)).unwrap()
        assert (requeued.start_by, requeued.started_at) == (None, None)
        clock.forward(2 * MINUTE)
        async with open_executor(store, [prompt], config=quick()):
            await until_state(store, id, TaskState.COMPLETED)


async def test_a_cancel_comes_before_a_missed_start() -> None:
    clock = MovableClock()
    async with open_store("memory:", clock=clock) as store:
        (id,) = await enqueue(store, prompt.with_metadata(1))
        await change(store, id, CLAIMED)
        await change(store, id, events.CancelRequested("enough"))
        clock.forward(2 * MINUTE)
        async with open_executor(store, [prompt], config=quick()):
            record = await until_state(store, id, TaskState.CANCELLED)
    assert record.crash == Crash(CrashKind.CANCELLED, "enough")


def test_a_time_that_cannot_be_meant_is_a_programming_error() -> None:
    for wrong in (timedelta(0), -MINUTE):
        with pytest.raises(ValueError, match="start_within\\(\\) needs a time above zero"):
            prompt.with_metadata(1).start_within(wrong)
    for seconds in (0, -1, float("inf"), "5"):
        with pytest.raises(TaskDefinitionError, match="start_within_seconds must be above 0"):
            cast("Any", task)(name="t", start_within_seconds=seconds)(patient.function)
