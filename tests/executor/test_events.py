"""Tasks that wait for named events, on every store: what they receive, in which order whoever comes, once."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from attrs import field, frozen

from milepost import (
    BlockingExecution,
    Client,
    Crash,
    Execution,
    Failure,
    HistoryKind,
    NamedEvent,
    Retry,
    SentTo,
    Store,
    Success,
    Suspended,
    TaskId,
    TaskResult,
    TaskState,
    open_executor,
    secret,
    task,
)
from milepost.executor.tending import EVENTS_MAX, tend_all
from milepost.payload import JsonText
from milepost.stores.flow_tables import SentEvent
from milepost.stores.protocol import Session
from tests.executor.kit import PATIENCE_SECONDS, kinds_of, quick, record_of, until, until_state
from tests.executor.test_store_faults import FailingStore

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
SOON = timedelta(milliseconds=20)


@frozen
class Payment:
    cents: int
    card: str = field(default="", repr=secret)


PAID = NamedEvent("paid", Payment)


@task
async def settle(order: str, asked: bool, execution: Execution[bool]) -> TaskResult[int, str, bool]:
    """Waits for its payment, once."""
    payment = execution.received(PAID)
    if payment is not None:
        return Success.with_result(payment.cents)
    if asked:
        return Failure.with_error("nobody paid")
    return Suspended(True).until_event(PAID, order)


async def waiting(store: Store, *orders: str) -> list[Any]:
    """Handles of tasks that wait, each for the payment of its order."""
    requests = [settle.with_metadata(order).with_execution_metadata(False) for order in orders]
    handles = await Client(store).enqueue_all(requests)
    for handle in handles:
        await until_state(store, handle.id, TaskState.SUSPENDED)
    return handles


async def test_the_next_run_has_what_came_typed(store: Store) -> None:
    async with open_executor(store, [settle], config=quick(poll_seconds=30)):
        (handle,) = await waiting(store, "order 7")
        sent = await Client(store).send_event(PAID, "order 7", Payment(700))
        assert sent == SentTo((handle.id,))
        assert await handle.wait(PATIENCE_SECONDS) == Success.with_result(700)
    wanted = [HistoryKind.ENQUEUED, HistoryKind.CLAIMED, HistoryKind.SUSPENDED, HistoryKind.WOKEN, HistoryKind.CLAIMED]
    assert await kinds_of(store, handle.id) == [*wanted, HistoryKind.COMPLETED]


async def test_an_event_that_came_before_the_task_began_to_wait_is_there_when_it_does(store: Store) -> None:
    client = Client(store)
    assert await client.send_event(PAID, "order 7", Payment(700)) == SentTo()
    async with open_executor(store, [settle], config=quick()):
        handle = await client.enqueue(settle.with_metadata("order 7").with_execution_metadata(False))
        assert await handle.wait(PATIENCE_SECONDS) == Success.with_result(700)
    assert HistoryKind.WOKEN in await kinds_of(store, handle.id)


async def test_an_event_that_comes_while_the_task_runs_is_there_when_it_begins_to_wait(store: Store) -> None:
    began, sent = trio.Event(), trio.Event()

    @task
    async def slow(order: str, step: int, execution: Execution[int]) -> TaskResult[int, str, int]:
        if (payment := execution.received(PAID)) is not None:
            return Success.with_result(payment.cents)
        began.set()
        await sent.wait()
        return Suspended().until_event(PAID, order)

    client = Client(store)
    async with open_executor(store, [slow], config=quick()):
        handle = await client.enqueue(slow.with_metadata("order 7").with_execution_metadata(0))
        await began.wait()
        assert await client.send_event(PAID, "order 7", Payment(700)) == SentTo()
        sent.set()
        assert await handle.wait(PATIENCE_SECONDS) == Success.with_result(700)


async def test_a_blocking_task_receives_as_well_and_by_a_bare_name_any_json(store: Store) -> None:
    @task(blocking=True)
    def ask(order: str, step: int, execution: BlockingExecution[int]) -> TaskResult[list[Any], str, int]:
        if execution.received("paid") is None:
            return Suspended().until_event("paid", order)
        payment = execution.received(PAID)
        return Success.with_result([execution.received("paid"), payment is not None and payment.cents])

    client = Client(store)
    async with open_executor(store, [ask], config=quick()):
        handle = await client.enqueue(ask.with_metadata("order 7").with_execution_metadata(0))
        await client.send_event("paid", "order 7", {"cents": 700})
        assert await handle.wait(PATIENCE_SECONDS) == Success.with_result([{"cents": 700}, 700])


async def test_a_task_that_waits_in_vain_goes_on_with_nothing(store: Store) -> None:
    @task
    async def hurry(order: str, asked: bool, execution: Execution[bool]) -> TaskResult[bool, str, bool]:
        if asked:
            return Success.with_result(execution.received(PAID) is None)
        return Suspended(True).until_event(PAID, order, within=SOON)

    client = Client(store)
    async with open_executor(store, [hurry], config=quick()):
        handle = await client.enqueue(hurry.with_metadata("order 7").with_execution_metadata(False))
        assert await handle.wait(PATIENCE_SECONDS) == Success.with_result(True)
    assert await client.send_event(PAID, "order 7", Payment(700)) == SentTo()


async def test_a_proceed_ends_the_wait_with_nothing_and_the_event_is_kept_for_the_next(store: Store) -> None:
    client = Client(store)
    async with open_executor(store, [settle], config=quick()):
        (handle,) = await waiting(store, "order 7")
        await client.proceed(handle)
        assert await handle.wait(PATIENCE_SECONDS) == Failure.with_error("nobody paid")
        assert await client.send_event(PAID, "order 7", Payment(700)) == SentTo()
        again = await client.enqueue(settle.with_metadata("order 7").with_execution_metadata(False))
        assert await again.wait(PATIENCE_SECONDS) == Success.with_result(700)


async def test_a_proceed_and_an_event_that_both_came_early_are_used_up_one_after_the_other(store: Store) -> None:
    @task
    async def patient(order: str, asked: int, execution: Execution[int]) -> TaskResult[list[int], str, int]:
        payment = execution.received(PAID)
        if payment is not None:
            return Success.with_result([asked, payment.cents])
        return Suspended(asked + 1).until_event(PAID, order)

    client = Client(store)
    handle = await client.enqueue(patient.with_metadata("order 7").with_execution_metadata(0))
    await client.proceed(handle)
    await client.send_event(PAID, "order 7", Payment(700))
    async with open_executor(store, [patient], config=quick()):
        assert await handle.wait(PATIENCE_SECONDS) == Success.with_result([2, 700])


async def test_what_came_is_there_after_commits_and_crashes_until_the_next_suspension(store: Store) -> None:
    seen: list[int | None] = []

    @task(retry=Retry.fixed(3, timedelta(0)))
    async def clumsy(order: str, step: int, execution: Execution[int]) -> TaskResult[int, str, int]:
        payment = execution.received(PAID)
        seen.append(None if payment is None else payment.cents)
        if payment is None:
            return Success.with_result(step) if step else Suspended(step).until_event(PAID, order)
        if step == 0:
            await execution.commit(1)
            raise ValueError("clumsy")
        return Suspended(step).at_once()

    client = Client(store)
    async with open_executor(store, [clumsy], config=quick()):
        handle = await client.enqueue(clumsy.with_metadata("order 7").with_execution_metadata(0))
        await client.send_event(PAID, "order 7", Payment(700))
        assert await handle.wait(PATIENCE_SECONDS) == Success.with_result(1)
    assert seen == [None, 700, 700, None]
    assert (await record_of(store, handle.id)).awaited_event is None


async def test_a_task_receives_one_event_after_the_other(store: Store) -> None:
    @task
    async def add(order: str, total: int, execution: Execution[int]) -> TaskResult[int, str, int]:
        payment = execution.received(PAID)
        total += payment.cents if payment is not None else 0
        return Success.with_result(total) if total >= 55 else Suspended(total).until_event(PAID, order)

    client = Client(store)
    async with open_executor(store, [add], config=quick()):
        handle = await client.enqueue(add.with_metadata("order 7").with_execution_metadata(0))
        async with trio.open_nursery() as nursery:
            for n in range(1, 11):
                nursery.start_soon(client.send_event, PAID, "order 7", Payment(n))
        assert await handle.wait(PATIENCE_SECONDS) == Success.with_result(55)


async def test_a_payload_of_another_type_is_a_crash_that_says_where(store: Store) -> None:
    client = Client(store)
    brief = attrs.evolve(settle, name="brief", policy=attrs.evolve(settle.policy, retry=Retry.never()))
    await client.send_event("paid", "order 7", {"cents": "seven hundred"})
    async with open_executor(store, [brief], config=quick()):
        handle = await client.enqueue(brief.with_metadata("order 7").with_execution_metadata(False))
        crash = await handle.wait(PATIENCE_SECONDS)
    assert isinstance(crash, Crash)
    assert crash.type_name == "milepost.errors.InvalidPayload"
    assert crash.message.startswith("what came with the event 'paid' cannot be read: $.cents: ")


async def test_the_secrets_of_what_came_are_in_no_crash(store: Store) -> None:
    @task(retry=Retry.never())
    async def leak(order: str, step: int, execution: Execution[int]) -> TaskResult[int, str, int]:
        payment = execution.received(PAID)
        if payment is None:
            return Suspended().until_event(PAID, order)
        raise ValueError(f"cannot charge {payment.card}")

    client = Client(store)
    await client.send_event(PAID, "order 7", Payment(700, card="4111-1111"))
    async with open_executor(store, [leak], config=quick()):
        handle = await client.enqueue(leak.with_metadata("order 7").with_execution_metadata(0))
        crash = await handle.wait(PATIENCE_SECONDS)
    assert isinstance(crash, Crash)
    assert crash.message == "cannot charge ***"
    assert "4111" not in crash.traceback


async def test_a_follow_up_of_a_suspension_may_be_what_the_event_comes_from(store: Store) -> None:
    @task
    async def pay(order: str, step: int) -> TaskResult[int, str]:
        await client.send_event(PAID, order, Payment(step))
        return Success.with_result(0)

    @task
    async def order(name: str, step: int, execution: Execution[int]) -> TaskResult[int, str, int]:
        payment = execution.received(PAID)
        if payment is not None:
            return Success.with_result(payment.cents)
        return Suspended().until_event(PAID, name).then_enqueue(pay.with_metadata(name).with_execution_metadata(700))

    client = Client(store)
    async with open_executor(store, [pay, order], config=quick()):
        handle = await client.enqueue(order.with_metadata("order 7").with_execution_metadata(0))
        assert await handle.wait(PATIENCE_SECONDS) == Success.with_result(700)


@pytest.mark.slow
async def test_of_events_and_tasks_that_come_at_the_same_time_each_meets_its_own_once(store: Store) -> None:
    client = Client(store)
    orders = [f"order {n}" for n in range(60)]

    async def send(n: int) -> None:
        sent.append(await client.send_event(PAID, orders[n], Payment(n)))

    sent: list[SentTo] = []
    async with open_executor(store, [settle], config=quick(concurrency=20)):
        async with trio.open_nursery() as nursery:
            requests = [settle.with_metadata(order).with_execution_metadata(False) for order in orders]
            handles = await client.enqueue_all(requests)
            for n in range(len(orders)):
                nursery.start_soon(send, n)
        outcomes = [await handle.wait(PATIENCE_SECONDS) for handle in handles]
    assert outcomes == [Success.with_result(n) for n in range(len(orders))]
    early = await store.read(lambda session: session.events.copy_out(0, limit=100))
    assert all(each.delivered_at is not None for each in early)
    assert len(early) + sum(len(each.delivered) for each in sent) == len(orders)


@pytest.mark.slow
async def test_where_the_store_often_fails_no_event_is_lost_and_none_comes_twice(store: Store) -> None:
    @task
    async def add(order: str, total: int, execution: Execution[int]) -> TaskResult[int, str, int]:
        payment = execution.received(PAID)
        total += payment.cents if payment is not None else 0
        return Success.with_result(total) if total >= 111 else Suspended(total).until_event(PAID, order)

    client = Client(store)
    failing = FailingStore(store, seed=1)
    orders = [f"order {n}" for n in range(10)]
    requests = [add.with_metadata(order).with_execution_metadata(0) for order in orders]
    async with open_executor(failing, [add], config=quick(lease_seconds=1)):
        failing.before = failing.after = 0.2
        handles = await client.enqueue_all(requests)
        for cents in (1, 10, 100):
            for order in orders:
                for _ in range(2):
                    await client.send_event(PAID, order, Payment(cents), id=str(cents))
        outcomes = [await handle.wait(30) for handle in handles]
        await until(lambda: failing.failed["before"] > 2 and failing.failed["after"] > 2, "some faults")
        failing.before = failing.after = 0.0
    assert outcomes == [Success.with_result(111)] * len(orders)


@pytest.mark.slow
async def test_a_hundred_tasks_are_woken_by_one_event(store: Store) -> None:
    client = Client(store)
    async with open_executor(store, [settle], config=quick()):
        handles = await waiting(store, *["all"] * 100)
        sent = await client.send_event(PAID, "all", Payment(1))
        assert sent == SentTo(tuple(sorted(handle.id for handle in handles)))
        assert [await handle.wait(PATIENCE_SECONDS) for handle in handles] == [Success.with_result(1)] * 100


async def test_events_that_were_kept_for_long_enough_are_forgotten_by_any_executor(store: Store) -> None:
    def keep(session: Session) -> None:
        now = session.now()
        for n in range(EVENTS_MAX + 2):
            until = now + HOUR if n == 0 else now - HOUR
            event = SentEvent("paid", "order 7", str(n), JsonText("1"), now - 2 * HOUR, until)
            session.events.keep(event, delivered_at=None)

    await store.transact(keep)
    tended = [await store.transact(partial(tend_all, policies={}, after=None)) for _ in range(2)]
    assert tended == [(None, False), (None, True)]
    left = await store.read(lambda session: session.events.copy_out(0, limit=9))
    assert [each.event.id for each in left] == ["0"]


async def test_a_task_that_is_deleted_while_it_waits_receives_nothing(store: Store) -> None:
    client = Client(store)
    async with open_executor(store, [settle], config=quick()):
        (handle,) = await waiting(store, "order 7")
        await client.delete(handle)
        assert await client.send_event(PAID, "order 7", Payment(700)) == SentTo()
    assert await client.history(TaskId(handle.id)) == []
