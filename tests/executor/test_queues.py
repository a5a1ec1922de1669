"""Queues as executors serve them: pauses, limits of the whole fleet, shares by weight, and nobody who asks in vain."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
import trio

from milepost import (
    Client,
    Executor,
    Failure,
    Retry,
    Statement,
    Store,
    Success,
    TaskQuery,
    TaskRequest,
    TaskResult,
    TaskState,
    open_executor,
    task,
)
from milepost.executor.claiming import Demand, claim_work
from milepost.lifecycle import events
from milepost.stores.protocol import Session
from tests.executor.kit import (
    AnyTask,
    abandoned_executor,
    announce,
    change,
    enqueue,
    quick,
    record_of,
    sql,
    until,
    until_async,
    until_state,
)
from tests.executor.limited_worker import CONTEXT, Gauge, Job, gauged, start

pytestmark = pytest.mark.anyio

RARELY = 3600.0
"""A poll that does not come: whoever goes on was told."""


class Gate:
    """A task that waits until it is let go, and how many of it run."""

    def __init__(self) -> None:
        self.opened = trio.Event()
        self.running = self.peak = 0
        self.begun: list[int] = []

        @task(name="gated", retry=Retry.fixed(1, timedelta(hours=1)))
        async def gated(metadata: int, _: int) -> TaskResult[int, str]:
            self.begun.append(metadata)
            self.running += 1
            self.peak = max(self.peak, self.running)
            try:
                await self.opened.wait()
            finally:
                self.running -= 1
            if metadata < 0:
                return Failure.with_error("no")
            return Success.with_result(metadata)

        self.task: AnyTask = gated

    def requests(self, count: int, queue: str) -> list[TaskRequest[Any, Any, Any, Any]]:
        return [self.task.with_metadata(n).in_queue(queue) for n in range(count)]


@task
def plain(metadata: int, _: int) -> TaskResult[int, str]:
    return Success.with_result(metadata)


@asynccontextmanager
async def executors(
    store: Store, tasks: Iterable[AnyTask], count: int, **config: Any
) -> AsyncGenerator[list[Executor], None]:
    async with AsyncExitStack() as stack:
        opened = [open_executor(store, tasks, config=quick(**config)) for _ in range(count)]
        yield [await stack.enter_async_context(each) for each in opened]


async def is_at_rest(executor: Executor) -> None:
    """Return once the executor has taken no turn for a while; fail if it never rests."""
    seen = -1
    with trio.fail_after(10):
        while executor.statistics().turns != seen:
            seen = executor.statistics().turns
            await trio.sleep(0.1)


async def ended(store: Store) -> int:
    return await Client(store).count(TaskQuery().with_state(TaskState.COMPLETED))


# Pauses


async def test_nothing_starts_in_a_paused_queue_and_what_runs_goes_on(store: Store) -> None:
    client, gate = Client(store), Gate()
    (running,) = await enqueue(store, *gate.requests(1, "mail"))
    async with open_executor(store, [gate.task, plain], config=quick()):
        await until(lambda: gate.running)
        await client.pause_queue("mail")
        waiting, other = await enqueue(store, plain.with_metadata(1).in_queue("mail"), plain.with_metadata(2))
        await until_state(store, other, TaskState.COMPLETED)
        gate.opened.set()
        await until_state(store, running, TaskState.COMPLETED)
        assert (await record_of(store, waiting)).state is TaskState.PENDING


@pytest.mark.parametrize("queues", [None, {"mail": 5}])
async def test_executors_rest_while_a_queue_is_paused_and_are_told_when_it_goes_on(
    store: Store, queues: dict[str, int] | None
) -> None:
    client = Client(store)
    await client.pause_queue("mail", reason="a full disk")
    (id,) = await enqueue(store, plain.with_metadata(1).in_queue("mail"))
    async with open_executor(store, [plain], config=quick(poll_seconds=RARELY, queues=queues)) as executor:
        await is_at_rest(executor)
        assert (await record_of(store, id)).state is TaskState.PENDING
        await client.resume_queue("mail")
        await until_state(store, id, TaskState.COMPLETED)


async def test_what_a_dead_executor_ran_in_a_paused_queue_waits_for_the_queue(store: Store) -> None:
    client = Client(store)
    (id,) = await enqueue(store, plain.with_metadata(1).in_queue("mail"))
    await change(store, id, events.Claimed("dead", "token"))
    await client.pause_queue("mail")
    async with open_executor(store, [plain], config=quick()) as executor:
        await is_at_rest_between_polls(executor)
        assert (await record_of(store, id)).executor == "dead"
        await client.resume_queue("mail")
        await until_state(store, id, TaskState.COMPLETED)


async def is_at_rest_between_polls(executor: Executor) -> None:
    """Let several polls pass."""
    turns = executor.statistics().turns
    await until(lambda: executor.statistics().turns > turns + 3)


# Limits of the whole fleet


async def test_no_more_tasks_of_a_queue_run_in_the_whole_fleet_than_it_may_have(store: Store) -> None:
    client, gate = Client(store), Gate()
    await client.set_queue("mail", concurrency=3)
    await enqueue(store, *gate.requests(30, "mail"))
    async with executors(store, [gate.task], 3, concurrency=10) as fleet:
        await until(lambda: gate.running == 3)
        for executor in fleet:
            await is_at_rest_between_polls(executor)
        assert gate.running == 3
        gate.opened.set()
        await until_async(lambda: is_done(store, 30))
    assert gate.peak == 3


async def is_done(store: Store, count: int) -> bool:
    return await ended(store) == count


async def test_a_new_limit_holds_at_once_and_executors_go_on_by_it(store: Store) -> None:
    client, gate = Client(store), Gate()
    async with executors(store, [gate.task], 2, concurrency=10, poll_seconds=RARELY) as fleet:
        await client.set_queue("mail", concurrency=2)
        await enqueue(store, *gate.requests(9, "mail"))
        await until(lambda: gate.running == 2)
        for executor in fleet:
            await is_at_rest(executor)
        await client.set_queue("mail", concurrency=5)
        await until(lambda: gate.running == 5)
        await client.set_queue("mail", concurrency=None)
        await until(lambda: gate.running == 9)
        gate.opened.set()
        await until_async(lambda: is_done(store, 9))


@pytest.mark.parametrize("way", ["succeeded", "retried", "cancelled", "with effects"])
async def test_a_slot_that_becomes_free_is_taken_by_another_executor_that_is_told(store: Store, way: str) -> None:
    if way == "with effects" and store.url == "memory:":
        pytest.skip("the memory store has no SQL")
    begun, go_on = list[int](), trio.Event()

    @task(retry=Retry.fixed(1, timedelta(hours=1)))
    async def slow(metadata: int, _: int) -> TaskResult[int, str]:
        begun.append(metadata)
        if metadata == 1:
            await go_on.wait()
            if way == "retried":
                return Failure.with_error("no")
            if way == "with effects":
                return Success.with_result(1).with_effects(Statement("insert into seen values (1)"))
        return Success.with_result(metadata)

    if way == "with effects":
        await sql(store, "create table seen (n integer)")
    client = Client(store)
    await client.set_queue("mail", concurrency=1)
    config = quick(poll_seconds=RARELY, drain_seconds=60)
    async with open_executor(store, [slow], config=config) as busy, trio.open_nursery() as nursery:
        (first,) = await enqueue(store, slow.with_metadata(1).in_queue("mail"))
        await until(lambda: begun)
        nursery.start_soon(busy.drain)  # it claims nothing more
        async with open_executor(store, [slow], config=config) as other:
            (second,) = await enqueue(store, slow.with_metadata(2).in_queue("mail"))
            await is_at_rest(other)
            assert begun == [1]
            if way == "cancelled":
                await client.cancel(first)
            go_on.set()
            await until_state(store, second, TaskState.COMPLETED)


async def test_what_a_dead_executor_held_of_a_limited_queue_is_taken_over(store: Store) -> None:
    client = Client(store)
    await client.set_queue("mail", concurrency=2)
    ids = await enqueue(store, *(plain.with_metadata(n).in_queue("mail") for n in range(5)))
    for id in ids[:2]:
        await change(store, id, events.Claimed("dead", "token"))
    async with open_executor(store, [plain], config=quick()):
        for id in ids:
            await until_state(store, id, TaskState.COMPLETED)


async def test_a_limited_queue_is_locked_only_where_there_is_something_to_claim(store: Store) -> None:
    client = Client(store)
    await client.set_queue("mail", concurrency=1)
    await client.set_queue("late", concurrency=1)
    ids = await enqueue(store, *(plain.with_metadata(n).in_queue("mail") for n in range(2)))
    await enqueue(store, plain.with_metadata(1).in_queue("late").after(timedelta(hours=1)))
    settings = {info.name: info.settings for info in await client.queues()}
    locked: list[list[str]] = []

    def looking(session: Session) -> list[Any]:
        announce(session, "me")
        watched: Any = _Watched(session, locked)
        demand = Demand(10, None, known=["late", "mail"], searches=False, settings=settings)
        catch = claim_work(watched, "me", {"plain": 1}, demand, session.now())
        return [record.id for record in catch.claimed]

    assert await store.transact(looking) == [ids[0]]
    assert [sorted(each) for each in locked] == [["late", "mail"]]
    locked.clear()
    assert await store.transact(looking) == []
    assert locked == [["late"], ["late"]] or not any("mail" in each for each in locked), "a full queue was locked"


class _Watched:
    """A session that notes which queues are locked."""

    def __init__(self, inner: Any, locked: list[list[str]]) -> None:
        self._inner = inner
        self._locked = locked

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property
    def settings(self) -> _Watched:
        return _Watched(self._inner.settings, self._locked)

    def lock_running(self, names: list[str]) -> Any:
        if names:
            self._locked.append(list(names))
        return self._inner.lock_running(names)


@pytest.mark.slow
async def test_four_processes_keep_to_the_limit_of_a_queue_exactly(shared_store: Store) -> None:
    gauges = {key: Gauge.new() for key in "ab"}
    stop = CONTEXT.Event()
    body = gauged(gauges)
    client = Client(shared_store)
    await client.set_queue("mail", concurrency=2)  # the task's own limit is one more
    handles = await client.enqueue_all([body.with_metadata(Job("a")).in_queue("mail") for _ in range(200)])
    workers = [start(shared_store.url, gauges, stop) for _ in range(4)]
    try:
        for handle in handles:
            await handle.wait(60)
    finally:
        stop.set()
        with trio.move_on_after(60, shield=True):
            for worker in workers:
                await trio.to_thread.run_sync(worker.join, 20)
    assert gauges["a"].most.value == 2
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]


# Weights


async def test_slots_go_to_queues_by_weight(store: Store) -> None:
    client, order = Client(store), list[str]()

    @task
    def noted(metadata: str, _: int) -> TaskResult[int, str]:
        order.append(metadata)
        return Success.with_result(1)

    await client.set_queue("mail", weight=3)
    await enqueue(store, *(noted.with_metadata(q).in_queue(q) for q in ("mail", "bulk") for _ in range(90)))
    async with open_executor(store, [noted], config=quick(concurrency=4)):
        await until_async(lambda: is_done(store, 180))
    first = Counter(order[:80])
    assert first["mail"] == pytest.approx(60, abs=4)
    assert order[-20:] == ["bulk"] * 20, "the queue with less weight has the rest to itself"


@pytest.mark.parametrize("queues", [None, {"mail": 1, "bulk": 1, "new": 1}])
async def test_an_executor_with_one_slot_forgets_no_queue(store: Store, queues: dict[str, int] | None) -> None:
    client, order = Client(store), list[str]()

    @task
    async def noted(metadata: str, _: int) -> TaskResult[int, str]:
        order.append(metadata)
        if len(order) == 10:
            await client.enqueue(noted.with_metadata("new").in_queue("new"))
        return Success.with_result(1)

    await client.set_queue("mail", weight=5)
    await enqueue(store, *(noted.with_metadata(q).in_queue(q) for q in ("mail", "bulk") for _ in range(60)))
    async with open_executor(store, [noted], config=quick(concurrency=1, queues=queues)):
        await until_async(lambda: is_done(store, 121))
    assert "bulk" in order[:6]
    assert queues is None or order.index("new") < 20


async def test_a_queue_that_nobody_knew_of_is_found_while_another_is_never_empty(store: Store) -> None:
    """A backlog that fills every slot of every turn hides no other queue for longer than a poll."""
    client, begun = Client(store), list[str]()

    @task
    async def endless(metadata: int, _: int) -> TaskResult[int, str]:
        if "new" not in begun:
            await client.enqueue(endless.with_metadata(metadata + 1).in_queue("mail"))
        return Success.with_result(1)

    @task
    def awaited(metadata: int, _: int) -> TaskResult[int, str]:
        begun.append("new")
        return Success.with_result(1)

    await enqueue(store, *(endless.with_metadata(n).in_queue("mail") for n in range(20)))
    async with open_executor(store, [endless, awaited], config=quick(concurrency=2)) as executor:
        await until(lambda: executor.statistics().ended > 20)
        await client.enqueue(awaited.with_metadata(1).in_queue("late"))
        await until(lambda: begun)


async def test_a_queue_with_less_to_do_than_its_share_leaves_the_rest_to_others(store: Store) -> None:
    gate = Gate()
    await Client(store).set_queue("mail", weight=100)
    await enqueue(store, *gate.requests(2, "mail"), *gate.requests(20, "bulk"))
    async with abandoned_executor(store, [gate.task], config=quick(concurrency=10)):
        await until(lambda: gate.running == 10)


async def test_a_limit_and_a_weight_together_leave_no_slot_free(store: Store) -> None:
    gate = Gate()
    client = Client(store)
    await client.set_queue("mail", weight=100, concurrency=1)
    await enqueue(store, *gate.requests(20, "mail"), *gate.requests(20, "bulk"))
    async with abandoned_executor(store, [gate.task], config=quick(concurrency=10)):
        await until(lambda: gate.running == 10)
        assert {info.name: info.running for info in await client.queues()} == {"mail": 1, "bulk": 9}
