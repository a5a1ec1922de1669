"""Executors fire schedules: at the instant, once however many they are, without a slot, whatever one of them is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, TypeVar, cast, final

import attrs
import pytest
import trio
import trio.testing

from milepost import (
    BlockingExecution,
    Cancellation,
    Client,
    Empty,
    Execution,
    ExecutorConfig,
    Misfire,
    Overlap,
    Schedule,
    ScheduleInfo,
    Store,
    StoreUnreachable,
    Success,
    TaskResult,
    TaskState,
    every,
    open_executor,
    task,
)
from milepost.payload import JsonText
from milepost.stores.memory import MemoryStore
from milepost.stores.protocol import Session
from milepost.telemetry import ScheduleFailed, ScheduleFired
from tests.executor.kit import (
    PassingStore,
    Recorder,
    abandoned_executor,
    enqueue,
    quick,
    until,
    until_async,
    until_state,
)
from tests.executor.scheduled import REQUEST, AnySchedule, row_of, tasks_of, tidy

pytestmark = pytest.mark.anyio

T = TypeVar("T")
T0 = datetime(2030, 1, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
AT_ONCE = timedelta(0)
SLEEPY = ExecutorConfig(poll_seconds=60, drain_seconds=5, cleanup_seconds=0.2)
"""Wakes by hints and by what is due, and not by polling."""


def now_and(key: str, **terms: Any) -> AnySchedule:
    """A schedule that fires at once, and then not before tomorrow."""
    return Schedule(key, REQUEST, every(DAY), run_first=AT_ONCE, **terms)


async def info_of(store: Store, key: str) -> ScheduleInfo:
    return next(info for info in await Client(store).schedules() if info.key == key)


# When, and what the task sees of it.


async def test_a_task_runs_at_each_instant_and_knows_for_which(store: Store) -> None:
    seen: list[datetime | None] = []

    @task(name="tidy")
    async def tell(_: Empty, __: Empty, execution: Execution[Empty]) -> TaskResult[Empty, Empty]:
        seen.append(execution.scheduled_at)
        return Success.with_empty_result().for_empty_error()

    recorder = Recorder()
    schedule = Schedule("often", REQUEST, every(SECOND / 20), run_limit=3, overlap=Overlap.ALLOW)
    async with open_executor(store, [tell], config=SLEEPY, observer=recorder) as executor:
        info = (await Client(store).schedule(schedule)).unwrap()
        await until(lambda: len(seen) == 3)
        fired = executor.statistics().fired
    tasks = await tasks_of(store, "often")
    assert {*seen} == {record.schedule_at for record in tasks} == {*info.next_instants(3)}
    told = [ScheduleFired("often", "tidy", record.id, record.schedule_at or T0) for record in tasks]
    assert (recorder.of(ScheduleFired), fired) == (told, 3)
    ended = await info_of(store, "often")
    assert (ended.has_ended, ended.runs, ended.latest_task) == (True, 3, tasks[-1].id)


async def test_a_blocking_task_knows_its_instant_too_and_others_have_none(store: Store) -> None:
    seen: list[datetime | None] = []

    @task(name="tidy", blocking=True)
    def tell(_: Empty, __: Empty, execution: BlockingExecution[Empty]) -> TaskResult[Empty, Empty]:
        seen.append(execution.scheduled_at)
        return Success.with_empty_result().for_empty_error()

    client = Client(store)
    async with open_executor(store, [tell], config=quick()):
        info = (await client.schedule(now_and("once"))).unwrap()
        await until(lambda: len(seen) == 1)
        await client.wait((await client.trigger("once")).unwrap())
        await (await client.enqueue(REQUEST)).wait()
    assert seen == [info.next_at, None, None]


async def test_who_does_not_know_the_task_fires_it_for_who_does(store: Store) -> None:
    @task
    def other(_: Empty, __: Empty) -> TaskResult[Empty, Empty]:
        return Success.with_empty_result().for_empty_error()

    async with open_executor(store, [other], config=SLEEPY):
        await Client(store).schedule(now_and("once"))
        await until_async(lambda: tasks_of(store, "once"))
    (record,) = await tasks_of(store, "once")
    assert (record.state, record.name) == (TaskState.PENDING, "tidy")


async def test_another_definition_holds_at_once(store: Store) -> None:
    async with open_executor(store, [tidy], config=SLEEPY):
        await Client(store).schedule(Schedule("x", REQUEST, every(HOUR)))
        await Client(store).schedule(Schedule("x", REQUEST, every(SECOND / 20), overlap=Overlap.ALLOW))
        await until_async(lambda: tasks_of(store, "x"))
        slower = (await Client(store).schedule(Schedule("x", REQUEST, every(HOUR)))).unwrap()
        count = len(await tasks_of(store, "x"))
        await trio.sleep(0.1)
        assert len(await tasks_of(store, "x")) == count == slower.runs


@pytest.mark.slow
async def test_what_is_paused_or_removed_fires_no_more(store: Store) -> None:
    client = Client(store)
    often = Schedule("x", REQUEST, every(SECOND / 20), overlap=Overlap.ALLOW)
    async with open_executor(store, [tidy], config=SLEEPY):
        await client.schedule(often)
        await client.schedule(attrs.evolve(often, key="y"))
        await until_async(lambda: tasks_of(store, "x"))
        await until_async(lambda: tasks_of(store, "y"))
        assert (await client.pause_schedule("x")).unwrap().is_paused
        assert (await client.unschedule("y")).unwrap().key == "y"
        counts = [len(await tasks_of(store, key)) for key in "xy"]
        await trio.sleep(0.1)
        assert [len(await tasks_of(store, key)) for key in "xy"] == counts
        await client.resume_schedule("x")
        await until_async(lambda: grown(store, "x", counts[0]))


async def grown(store: Store, key: str, count: int) -> bool:
    return len(await tasks_of(store, key)) > count


# While the previous task is live.


async def test_a_queued_instant_holds_no_slot_and_runs_when_the_previous_task_has_ended(store: Store) -> None:
    gate = trio.Event()
    started: list[datetime | None] = []

    @task(name="tidy")
    async def wait(_: Empty, __: Empty, execution: Execution[Empty]) -> TaskResult[Empty, Empty]:
        started.append(execution.scheduled_at)
        await gate.wait()
        return Success.with_empty_result().for_empty_error()

    @task(name="other")
    def other(_: Empty, __: Empty) -> TaskResult[Empty, Empty]:
        return Success.with_empty_result().for_empty_error()

    config = attrs.evolve(SLEEPY, concurrency=2)
    async with open_executor(store, [wait, other], config=config) as executor:
        await Client(store).schedule(
            Schedule("x", REQUEST, every(SECOND / 20), run_first=AT_ONCE, overlap=Overlap.QUEUE, run_limit=2)
        )
        await until_async(lambda: is_queued(store, "x"))
        # Of the two slots one is free.
        await (await Client(store).enqueue(other.with_metadata(Empty()))).wait(5)
        assert executor.statistics().running == 1
        assert len(started) == 1
        gate.set()
        await until(lambda: len(started) == 2)
    first, second = await tasks_of(store, "x")
    assert started == [first.schedule_at, second.schedule_at]


async def is_queued(store: Store, key: str) -> bool:
    return (await info_of(store, key)).queued_at is not None


@pytest.mark.slow
async def test_the_next_instant_cancels_a_running_task_and_waits_for_its_end(store: Store) -> None:
    running: list[str] = []
    side_by_side: list[str] = []

    @task(name="tidy")
    async def stay(_: Empty, __: Empty, execution: Execution[Empty]) -> TaskResult[Empty, Empty]:
        side_by_side.extend(running)
        running.append(execution.id)
        try:
            await trio.sleep_forever()
        finally:
            running.remove(execution.id)
        return Cancellation.with_empty_error()

    schedule = Schedule("x", REQUEST, every(SECOND / 5), run_first=AT_ONCE, overlap=Overlap.CANCEL_PREVIOUS)
    async with abandoned_executor(store, [stay], config=quick()):
        await Client(store).schedule(schedule)
        await until_async(lambda: grown(store, "x", 2))
    assert not side_by_side
    first, second, *_ = await tasks_of(store, "x")
    assert first.state is second.state is TaskState.CANCELLED
    assert first.cancel_reason == "the next instant of its schedule has come"


# Several executors.


@pytest.mark.slow
async def test_three_executors_fire_each_instant_once(store: Store) -> None:
    """Fifty a second, for a second, from the first one on; not one is missing."""
    schedules = [
        Schedule(key, REQUEST, every(SECOND / 50), misfire=Misfire.ALL, overlap=Overlap.ALLOW) for key in ("a", "b")
    ]
    recorder = Recorder()
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(open_executor(store, [tidy], config=SLEEPY, observer=recorder))
        begun = (await Client(store).sync_schedules(schedules)).unwrap()
        assert begun.created == ("a", "b")
        await until_async(lambda: grown(store, "b", 50))
        await until_async(lambda: grown(store, "a", 50))
    for key in ("a", "b"):
        instants = [cast("datetime", record.schedule_at) for record in await tasks_of(store, key)]
        row = await row_of(store, key)
        assert instants[0] == row.state.counted_from + SECOND / 50
        assert {b - a for a, b in pairwise(instants)} == {SECOND / 50}
        assert (row.state.runs, row.state.skipped) == (len(instants), 0)
    assert len(recorder.of(ScheduleFired)) == sum([len(await tasks_of(store, key)) for key in ("a", "b")])


@pytest.mark.slow
def test_each_instant_of_two_hours_is_fired_when_it_comes() -> None:
    """By a clock that waits for nobody: three executors, one of which comes later, tasks that take their time."""

    @task(name="tidy")
    async def take_a_while(_: Empty, __: Empty) -> TaskResult[Empty, Empty]:
        await trio.sleep(90)
        return Success.with_empty_result().for_empty_error()

    terms: dict[Overlap, int] = {
        Overlap.ALLOW: 120,  # every minute
        Overlap.SKIP: 60,  # every second one finds the previous task running
        Overlap.QUEUE: 80,  # one after the other
    }

    async def two_hours() -> None:
        store = MemoryStore(lambda: T0 + trio.current_time() * SECOND)
        config = ExecutorConfig(poll_seconds=600, lease_seconds=DAY.total_seconds())  # the keeper's clock is the host's
        async with AsyncExitStack() as stack:
            for _ in range(2):
                await stack.enter_async_context(open_executor(store, [take_a_while], config=config))
            for overlap in terms:
                await Client(store).schedule(Schedule(overlap.name, REQUEST, every(MINUTE), overlap=overlap))
            await trio.sleep(3_600)
            await stack.enter_async_context(open_executor(store, [take_a_while], config=config))
            await trio.sleep(3_600 + 1)
            for overlap, count in terms.items():
                tasks = await tasks_of(store, overlap.name)
                assert abs(len(tasks) - count) <= 1, overlap
                late = max(record.created_at - cast("datetime", record.schedule_at) for record in tasks)
                assert late < (1 if overlap is not Overlap.QUEUE else 91) * SECOND, overlap
        store.close()

    trio.run(two_hours, clock=trio.testing.MockClock(autojump_threshold=0))


# What goes wrong with one, and what that costs the others.


async def test_one_that_cannot_be_read_keeps_no_other_from_firing(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    client = Client(store)
    recorder = Recorder()
    await client.schedule(now_and("bad"))
    await damage(store, "bad", '{"when":{"$type":"Cron","expression":"0 3 * * *","timezone":"Mars/Base"}}')
    await client.schedule(now_and("good"))
    with caplog.at_level(logging.WARNING, "milepost.executor"):
        async with open_executor(store, [tidy], config=SLEEPY, observer=recorder):
            await until_async(lambda: tasks_of(store, "good"))
            await until(lambda: recorder.of(ScheduleFailed))
            bad = await info_of(store, "bad")
            reason = "its terms cannot be read: $.when: the timezone 'Mars/Base' is unknown"
            assert (bad.errors, bad.error.startswith(reason), bad.runs) == (1, True, 0)
            assert recorder.of(ScheduleFailed)[0].reason == bad.error
            assert "the schedule 'bad' could not fire, next try" in caplog.text
            # Its definition repairs it; that it fires at once is not repeated, so another one says when.
            await client.schedule(Schedule("bad", REQUEST, every(SECOND / 20)))
            await until_async(lambda: tasks_of(store, "bad"))
    good = await info_of(store, "bad")
    assert (good.errors, good.error) == (0, "")


async def damage(store: Store, key: str, terms: str) -> None:
    def write(session: Session) -> bool:
        row = session.schedules.get([key])[key]
        return session.schedules.write(attrs.evolve(row, terms_json=JsonText(terms)))

    assert await store.transact(write)


@pytest.mark.slow
async def test_one_whose_queue_is_full_fires_when_there_is_room(store: Store) -> None:
    client = Client(store)
    await client.set_queue("small", capacity=1)
    (waiting,) = await enqueue(store, REQUEST.in_queue("small"))
    await client.schedule(attrs.evolve(now_and("full"), request=REQUEST.in_queue("small")))
    recorder = Recorder()
    async with open_executor(store, [tidy], config=attrs.evolve(quick(), queues={"other": 1}), observer=recorder):
        await until(lambda: recorder.of(ScheduleFailed))
        full = await info_of(store, "full")
        assert (full.runs, full.errors, full.error) == (0, 1, "the queue 'small' is full: its capacity is 1")
        await client.cancel(waiting)
        await until_async(lambda: tasks_of(store, "full"))
    fired = await info_of(store, "full")
    assert (fired.runs, fired.errors, fired.error) == (1, 0, "")


async def test_one_that_the_store_refuses_keeps_no_other_from_firing(store: Store) -> None:
    """There is a task for the very instant already, as after a clock that went back."""
    client = Client(store)
    info = (await client.schedule(now_and("twice"))).unwrap()
    (other,) = await enqueue(store, REQUEST)

    def take_its_place(session: Session) -> None:
        (record,) = session.get([other])
        session.delete([other])
        session.insert([record.changed({"schedule": "twice", "schedule_at": info.next_at})])

    await store.transact(take_its_place)
    await client.schedule(now_and("good"))
    recorder = Recorder()
    async with open_executor(store, [tidy], config=SLEEPY, observer=recorder):
        await until_async(lambda: tasks_of(store, "good"))
        await until(lambda: recorder.of(ScheduleFailed))
        await until_state(store, (await tasks_of(store, "good"))[0].id, TaskState.COMPLETED)
    refused = await info_of(store, "twice")
    assert (refused.errors, refused.runs, bool(refused.error)) == (1, 0, True)
    assert [record.id for record in await tasks_of(store, "twice")] == [other]


@final
class Counting(PassingStore):
    """Counts what is read of schedules, and is away while it is told to be."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.looks = 0
        self.is_away = False

    async def read(self, function: Callable[[Session], T]) -> T:
        if "until_due" in repr(function):
            self.looks += 1
            if self.is_away:
                raise StoreUnreachable("away")
        return await self.inner.read(function)


def test_a_store_that_was_away_is_asked_again() -> None:
    async def away() -> None:
        store = Counting(MemoryStore(lambda: T0 + trio.current_time() * SECOND))
        store.is_away = True
        async with open_executor(store, [tidy], config=ExecutorConfig(poll_seconds=5)):
            await Client(store).schedule(now_and("once"))
            await trio.sleep(100)
            assert 10 < store.looks < 40
            assert await tasks_of(store, "once") == []
            store.is_away = False
            await trio.sleep(7)
            assert len(await tasks_of(store, "once")) == 1
        store.close()

    trio.run(away, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.slow
def test_where_there_is_nothing_to_fire_hardly_anything_is_asked() -> None:
    async def idle() -> None:
        store = Counting(MemoryStore(lambda: T0 + trio.current_time() * SECOND))
        async with open_executor(store, [tidy]):
            await trio.sleep(600)
            assert store.looks <= 12
            # A hundred tasks a second are as many hints, and none of them is about schedules.
            before = store.looks
            for _ in range(1_000):
                await enqueue(store, REQUEST)
                await trio.sleep(0.01)
            assert store.looks - before <= 50
        store.close()

    trio.run(idle, clock=trio.testing.MockClock(autojump_threshold=0))
