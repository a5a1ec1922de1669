"""What a result carries is there exactly if the result is, whatever happens to the task while it is handed in."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from attrs import frozen

from milepost import Client, Empty, Failure, Retry, Store, Success, Suspended, TaskRecord, TaskResult, TaskState, task
from milepost.executor.claiming import Demand
from milepost.executor.settle import Returned, settle
from milepost.executor.turn import Delivery, TurnPlan, deliver, take_turn
from milepost.lifecycle import events
from milepost.stores.filter import TaskFilter
from milepost.stores.protocol import Session
from tests.executor.kit import announce, change, enqueue, record_of

pytestmark = pytest.mark.anyio


@task
def mail(metadata: int, progress: Empty) -> TaskResult[int, str]:
    return Success.with_result(metadata)


@task(retry=Retry.default().when(lambda error: True))
def order(metadata: int, progress: int) -> TaskResult[int, str, int]:
    answers: Sequence[TaskResult[int, str, int]] = (
        Success.with_result(1),
        Suspended(1).until_finished(),
        Suspended(1).at_once(),
        Failure.with_error("no").final(),
        Failure.with_error("not yet"),
    )
    return answers[metadata].then_enqueue(mail.with_metadata(1), mail.with_metadata(2))


SUCCESS, JOIN, SUSPENSION, FAILURE, RETRIED = range(5)


@frozen
class Run:
    """A run of `order` whose result is about to be handed in."""

    store: Store
    delivery: Delivery

    @property
    def record(self) -> TaskRecord:
        """The task as the run knows it."""
        return self.delivery.record

    async def hand_in(self) -> TaskRecord | None:
        """What the turn answers."""
        return await self.store.transact(lambda session: deliver(session, [self.delivery], now=session.now())[0])

    async def enqueued(self) -> int:
        """How many follow-ups there are."""
        return await self.store.read(lambda session: session.count(TaskFilter(parents=(self.record.id,))))


async def begun(store: Store, metadata: int) -> Run:
    """A claimed task that has answered."""
    await enqueue(store, order.with_metadata(metadata))
    plan = TurnPlan(
        executor="me",
        names={"order": 1},
        policies={"order": order.policy},
        demand=Demand(1, None),
        lease_seconds=3600,
    )

    def claim(session: Session) -> TaskRecord:
        announce(session, "me")
        (record,) = take_turn(session, plan).claimed
        return record

    record = await store.transact(claim)
    settled = settle(order, Returned(order(metadata, 0)), record)
    assert settled is not None
    return Run(store, Delivery(record, settled.event, order.policy, settled.effects, settled.follow_ups))


@pytest.mark.parametrize(
    ("answer", "state", "enqueued"),
    [
        (SUCCESS, TaskState.COMPLETED, 2),
        (JOIN, TaskState.SUSPENDED, 2),
        (SUSPENSION, TaskState.PENDING, 2),
        (FAILURE, TaskState.FAILED, 2),
        (RETRIED, TaskState.RETRYING, 0),
    ],
)
async def test_it_is_there_if_the_result_was_taken_as_such(
    store: Store, answer: int, state: TaskState, enqueued: int
) -> None:
    run = await begun(store, answer)
    assert await run.hand_in()
    assert ((await record_of(store, run.record.id)).state, await run.enqueued()) == (state, enqueued)


@pytest.mark.parametrize(
    ("answer", "state", "enqueued"),
    [
        (SUCCESS, TaskState.COMPLETED, 2),
        (JOIN, TaskState.CANCELLED, 0),
        (SUSPENSION, TaskState.CANCELLED, 0),
        (FAILURE, TaskState.FAILED, 2),
        (RETRIED, TaskState.CANCELLED, 0),
    ],
)
async def test_a_cancel_that_comes_between_the_answer_and_its_turn_decides_over_what_it_carries(
    store: Store, answer: int, state: TaskState, enqueued: int
) -> None:
    run = await begun(store, answer)
    (await Client(store).cancel(run.record.id)).unwrap()
    assert await run.hand_in()
    assert ((await record_of(store, run.record.id)).state, await run.enqueued()) == (state, enqueued)


@pytest.mark.parametrize("answer", [SUCCESS, JOIN, SUSPENSION, FAILURE])
async def test_an_answer_that_is_handed_in_again_after_a_lost_reply_enqueues_nothing_more(
    store: Store, answer: int
) -> None:
    run = await begun(store, answer)
    first, again = await run.hand_in(), await run.hand_in()
    assert first is not None
    assert again is not None
    assert first.state is again.state
    assert await run.enqueued() == 2


@pytest.mark.parametrize("answer", [SUCCESS, JOIN, SUSPENSION, FAILURE, RETRIED])
async def test_an_answer_of_a_run_that_was_relieved_enqueues_nothing(store: Store, answer: int) -> None:
    run = await begun(store, answer)
    await change(store, run.record.id, events.Claimed("another", "token"))
    assert await run.hand_in() is None
    assert await run.enqueued() == 0
    assert (await record_of(store, run.record.id)).state is TaskState.RUNNING
