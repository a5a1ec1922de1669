"""A machine under a real executor on each store: suspended, found by its state, let go on, retried and stopped."""

from __future__ import annotations

from datetime import timedelta

import attrs
import pytest
from attrs import frozen
from returns.result import Result
from returns.result import Success as Done

from milepost import (
    Audit,
    Cancellation,
    Client,
    CrashKind,
    Empty,
    Execution,
    Failure,
    HistoryKind,
    Json,
    Next,
    Retry,
    StateMachine,
    Store,
    Success,
    Suspended,
    TaskQuery,
    TaskResult,
    TaskState,
    Transaction,
    open_executor,
)
from tests.executor.kit import PATIENCE_SECONDS, kinds_of, placeholders, quick, record_of, run, sql, until_state
from tests.machine.orders import AwaitingPayment, NotPaid, Order, Placed, Receipt, Shipped, State, order_task

pytestmark = pytest.mark.anyio


@frozen
class Count:
    n: int = 0


@frozen
class Counted:
    n: int


def paid(state: State) -> State:
    assert isinstance(state, AwaitingPayment)
    return attrs.evolve(state, paid=True)


def not_paid(state: State) -> State:
    assert isinstance(state, AwaitingPayment)
    return attrs.evolve(state, paid=False)


async def test_a_machine_is_found_by_its_state_and_goes_on_from_it(store: Store) -> None:
    client = Client(store)
    request = order_task.with_metadata(Order(7)).with_execution_metadata(Placed())
    handle = await client.enqueue(request)
    other = await client.enqueue(order_task.with_metadata(Order(8)).with_execution_metadata(Placed()))
    async with open_executor(store, [order_task], config=quick()):
        await until_state(store, handle.id, TaskState.SUSPENDED)
        await until_state(store, other.id, TaskState.SUSPENDED)
        query = TaskQuery.for_task(order_task).with_state(TaskState.SUSPENDED)

        found = await client.proceed(query.with_execution_metadata(operation="op-7"), modify=paid)
        assert found.unwrap().id == handle.id
        assert await handle.wait(PATIENCE_SECONDS) == Success.with_result(Receipt("parcel-7"))

        await client.proceed(query.with_execution_metadata(AwaitingPayment("op-8")), modify=not_paid)
        assert await other.wait(PATIENCE_SECONDS) == Cancellation.with_error(NotPaid("op-8"))

    record = await record_of(store, handle.id)
    assert order_task.decode(1, record.metadata_json, record.execution_metadata_json).unwrap() == (
        Order(7),
        Shipped("parcel-7"),
    )


async def test_each_step_is_one_commit(store: Store) -> None:
    client = Client(store)
    request = order_task.with_metadata(Order(7)).with_execution_metadata(Placed())
    handle = await client.enqueue(request.with_audit(Audit.FULL))
    async with open_executor(store, [order_task], config=quick()):
        await until_state(store, handle.id, TaskState.SUSPENDED)
        await client.proceed(handle.id, modify=_paid_json)
        await handle.wait(PATIENCE_SECONDS)

    assert await kinds_of(store, handle.id) == [
        HistoryKind.ENQUEUED,
        HistoryKind.CLAIMED,
        HistoryKind.SUSPENDED,  # with the state that it suspends in
        HistoryKind.PROCEEDED,
        HistoryKind.CLAIMED,
        HistoryKind.COMMITTED,
        HistoryKind.COMPLETED,
    ]


def _paid_json(state: Json) -> Json:
    assert isinstance(state, dict)
    return {**state, "paid": True}


async def test_an_attempt_that_fails_goes_on_in_the_state_of_its_last_step(store: Store) -> None:
    visits: list[object] = []

    async def on_count(metadata: int, count: Count) -> Next[Count | Counted] | Failure[int, str]:
        visits.append(count)
        if visits.count(count) == 1:
            # Each state is visited twice: the first time it raises or fails, the second time it takes its step.
            if count.n % 2:
                raise OSError("the network is away")
            return Failure.with_error("try again")
        return Next.state(Count(count.n + 1) if count.n < metadata else Counted(count.n))

    def on_counted(metadata: int, counted: Counted) -> Success[int]:
        visits.append(counted)
        return Success.with_result(counted.n)

    task = (
        StateMachine.for_states(Count | Counted)
        .for_metadata(int)
        .for_result(int)
        .for_error(str)
        .with_handler(Count, on_count)
        .with_handler(Counted, on_counted)
        .build(name="count", retry=Retry.delays([timedelta(0)] * 10).when(lambda _: True))
    )
    request = task.with_metadata(2).with_execution_metadata(Count())

    assert await run(store, [task], request) == [Success.with_result(2)]
    assert visits == [Count(0), Count(0), Count(1), Count(1), Count(2), Count(2), Counted(2)]


async def test_a_loop_without_end_crashes_at_its_limit_in_its_last_state(store: Store) -> None:
    def on_count(metadata: Empty, count: Count) -> Next[Count]:
        return Next.state(Count(count.n + 1))

    builder = StateMachine.for_states(Count).with_handler(Count, on_count)
    task = builder.build(name="endless", step_limit=5, retry=Retry.never())
    client = Client(store)
    handle = await client.enqueue(task.with_metadata(Empty()))
    async with open_executor(store, [task], config=quick()):
        crash = await handle.wait(PATIENCE_SECONDS)

    assert not isinstance(crash, Success | Failure | Cancellation)
    assert crash.kind is CrashKind.EXCEPTION
    assert crash.type_name == "milepost.errors.InvalidResult"
    assert crash.message.startswith("the machine 'endless' has taken 5 steps in one run, its step_limit")
    assert (await record_of(store, handle.id)).execution_metadata_json == '{"n":5}'


async def test_a_long_loop_may_suspend_at_once_and_count_its_steps_anew(store: Store) -> None:
    def on_count(metadata: int, count: Count) -> Next[Count, int] | TaskResult[int, Empty]:
        if count.n == metadata:
            return Success.with_result(count.n)
        step = Next.state(Count(count.n + 1))
        return step.with_outcome(Suspended().at_once()) if count.n % 4 == 3 else step

    types = StateMachine.for_states(Count).for_metadata(int).for_result(int)
    task = types.with_handler(Count, on_count).build(name="long", step_limit=4)

    assert await run(store, [task], task.with_metadata(20)) == [Success.with_result(20)]


async def test_a_handler_may_write_its_effect_with_its_step(shared_store: Store) -> None:
    """The commit of the handler is the step; the machine's own stores the state that is there already."""
    store, insert = shared_store, placeholders(shared_store, "insert into booked values (?)")
    await sql(store, "create table booked (n integer)")

    async def on_count(metadata: int, count: Count, execution: Execution[Count | Counted]) -> Next[Counted]:
        def book(transaction: Transaction) -> Result[None, str]:
            transaction.execute(insert, (metadata,))
            return Done(None)

        after = Counted(metadata)
        assert (await execution.commit_with(book, after)).unwrap() is None
        return Next.state(after)

    def on_counted(metadata: int, counted: Counted) -> Success[int]:
        return Success.with_result(counted.n)

    types = StateMachine.for_states(Count | Counted).for_metadata(int).for_result(int)
    task = types.with_handler(Count, on_count).with_handler(Counted, on_counted).build(name="book")
    request = task.with_metadata(3).with_execution_metadata(Count())

    assert await run(store, [task], request) == [Success.with_result(3)]
    assert await sql(store, "select n from booked") == [(3,)]
