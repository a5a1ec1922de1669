"""Limits as executors keep them together: starts per time, tasks at once, who waits, and what becomes of a share."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import attrs
import pytest
import trio
from attrs import frozen

from milepost import (
    Client,
    ConcurrencyLimit,
    Crash,
    CrashKind,
    Empty,
    ExecutorConfig,
    Failure,
    HistoryKind,
    LimitKind,
    RateLimit,
    Retry,
    Statement,
    Store,
    Success,
    Suspended,
    Task,
    TaskId,
    TaskQuery,
    TaskResult,
    TaskState,
    WhenFull,
    open_executor,
    task,
)
from milepost.executor.limiting import admit, tend
from milepost.lifecycle import events
from milepost.lifecycle.limits import LimitKey
from milepost.lifecycle.rates import RateUse
from milepost.lifecycle.transition import Policy
from milepost.stores.memory import MemoryStore
from milepost.stores.protocol import Session
from milepost.telemetry import TasksLimited
from milepost.testing import virtual_clock
from milepost.testing.conformance.kit import sample
from tests.executor.kit import (
    AnyTask,
    Recorder,
    abandoned_executor,
    announce,
    change,
    enqueue,
    kinds_of,
    quick,
    record_of,
    run,
    sql,
    until,
    until_async,
    until_state,
)
from tests.executor.limited_worker import CONTEXT, LIMIT, Gauge, Job, gauged, start

pytestmark = pytest.mark.anyio

SECOND = timedelta(seconds=1)
T0 = datetime(2030, 1, 1, tzinfo=UTC)


@frozen
class Call:
    key: str = ""


# Starts per time


def most_above_rate(starts: list[float], rate: float) -> float:
    """By how much the fullest window, of any length, exceeds what the rate gives for its length."""
    fullest, earliest = -1.0, -math.inf
    for count, at in enumerate(sorted(starts)):
        earliest = max(earliest, at * rate - count)
        fullest = max(fullest, count + 1 - at * rate + earliest)
    return fullest


def test_three_executors_together_use_a_rate_to_the_full_and_never_exceed_it() -> None:
    """Of two keys, each with a rate of its own, for ten seconds of a clock that waits for nobody."""
    clock = virtual_clock()
    starts: defaultdict[str, list[float]] = defaultdict(list)

    @task(rate_limit=RateLimit(100, SECOND, key=lambda call: call.key))
    async def called(metadata: Call, _: Empty) -> TaskResult[Empty, Empty]:
        starts[metadata.key].append(trio.current_time())
        return Success.with_empty_result().for_empty_error()

    async def ten_seconds() -> None:
        store = MemoryStore(clock.now)
        # One key's tasks all come before the other's, and still neither gets more than its half.
        await enqueue(store, *(called.with_metadata(Call(key)) for key in "ab" for _ in range(1_200)))
        recorder = Recorder()
        async with AsyncExitStack() as stack:
            for _ in range(3):
                config = ExecutorConfig(concurrency=50)
                await stack.enter_async_context(open_executor(store, [called], config=config, observer=recorder))
            await trio.sleep(10)
            counts = {key: len(each) for key, each in starts.items()}
        store.close()
        for key in "ab":
            assert most_above_rate(starts[key], 100) <= 100 + 1e-6
            assert counts[key] >= 0.98 * (10 * 100 + 100)
        assert abs(counts["a"] - counts["b"]) <= 0.05 * counts["a"]
        # Each task that could not start at once was put back once, and came back for its own start.
        assert sum(each.count for each in recorder.of(TasksLimited)) == 2_400 - 200

    clock.run(ten_seconds)


async def test_a_task_waits_for_its_start_and_history_says_so(store: Store) -> None:
    tight = RateLimit(1, SECOND / 10)

    @task(rate_limit=tight, name="called")
    def called(metadata: int, _: Empty) -> TaskResult[int, str]:
        return Success.with_result(metadata)

    recorder = Recorder()
    ids = await enqueue(store, called.with_metadata(1), called.with_metadata(2))
    async with open_executor(store, [called], config=quick(), observer=recorder):
        records = [await until_state(store, id, TaskState.COMPLETED) for id in ids]
    first, second = sorted(cast("datetime", record.started_at) for record in records)
    assert second - first >= tight.interval
    waited = max(records, key=lambda record: cast("datetime", record.started_at))
    kinds = await kinds_of(store, waited.id)
    assert kinds[:3] == [HistoryKind.ENQUEUED, HistoryKind.CLAIMED, HistoryKind.LIMITED]
    assert (waited.stalls, waited.failures, waited.limited_by, waited.slot_at) == (0, 0, None, None)
    assert recorder.of(TasksLimited)[0] == TasksLimited("called", LimitKind.RATE, 1)


async def test_a_retry_counts_as_a_start(store: Store) -> None:
    tries: list[float] = []

    @task(rate_limit=RateLimit(1, SECOND / 5), retry=Retry.fixed(1, timedelta(0)))
    def failing(metadata: int, _: Empty) -> TaskResult[int, str]:
        tries.append(trio.current_time())
        return Failure.with_error("no")

    await run(store, [failing], failing.with_metadata(1))
    assert len(tries) == 2
    starts = [event.at for event in await _history(store) if event.kind is HistoryKind.CLAIMED]
    assert starts[-1] - starts[0] >= SECOND / 5


@pytest.mark.parametrize("kind", LimitKind)
async def test_a_task_that_does_not_wait_fails_with_a_crash_that_says_why(store: Store, kind: LimitKind) -> None:
    started = trio.Event()
    rate = RateLimit(1, timedelta(minutes=1), horizon=SECOND, when_full=WhenFull.REJECT)
    shares = ConcurrencyLimit(1, when_full=WhenFull.REJECT)

    @task(
        name="held",
        rate_limit=rate if kind is LimitKind.RATE else None,
        concurrency_limit=shares if kind is LimitKind.CONCURRENCY else None,
    )
    async def held(metadata: int, _: Empty) -> TaskResult[int, str]:
        started.set()
        await trio.sleep_forever()
        return Success.with_result(metadata)

    client = Client(store)
    async with abandoned_executor(store, [held], config=quick()):
        await client.enqueue(held.with_metadata(1))
        await started.wait()
        crash = await (await client.enqueue(held.with_metadata(2))).wait(10)
    assert isinstance(crash, Crash)
    assert crash.kind is CrashKind.LIMITED
    assert crash.message.startswith(f"{kind.value} limit: ")


# Tasks at once


def counted(
    most: int, *, running: Counter[str], peak: Counter[str], rate_limit: RateLimit | None = None
) -> Task[Call, Empty, Empty, Empty]:
    """A task that counts how many of its key run at once; the first ones wait until `most` do."""
    met: defaultdict[str, trio.Event] = defaultdict(trio.Event)

    @task(
        name="counted",
        rate_limit=rate_limit,
        concurrency_limit=ConcurrencyLimit(most, key=lambda call: call.key),
    )
    async def body(metadata: Call, _: Empty) -> TaskResult[Empty, Empty]:
        running[metadata.key] += 1
        peak[metadata.key] = max(peak[metadata.key], running[metadata.key])
        if running[metadata.key] == most:
            met[metadata.key].set()
        await met[metadata.key].wait()
        await trio.sleep(0.001)
        running[metadata.key] -= 1
        return Success.with_empty_result().for_empty_error()

    return body


async def test_no_more_run_at_once_than_may_and_each_key_has_its_own_shares(store: Store) -> None:
    running: Counter[str] = Counter()
    peak: Counter[str] = Counter()
    body = counted(2, running=running, peak=peak)
    recorder = Recorder()
    async with _executors(store, [body], recorder=recorder):
        handles = await Client(store).enqueue_all([body.with_metadata(Call(key)) for _ in range(20) for key in "abc"])
        for handle in handles:
            await handle.wait(30)
    assert peak == {"a": 2, "b": 2, "c": 2}
    # At first, who finds no share goes to the line, and is let in from there: nobody asks again and again.
    put_back = sum(each.count for each in recorder.of(TasksLimited))
    assert put_back <= 3 * 20


def test_three_executors_together_use_their_shares_to_the_full() -> None:
    """Tasks of about a second each, in the time of a clock that waits for nobody."""
    clock = virtual_clock()
    running: Counter[str] = Counter()
    peak: Counter[str] = Counter()

    @task(concurrency_limit=ConcurrencyLimit(5))
    async def lasting(metadata: int, _: Empty) -> TaskResult[Empty, Empty]:
        running[""] += 1
        peak[""] = max(peak[""], running[""])
        await trio.sleep(0.5 + metadata % 11 / 10)
        running[""] -= 1
        return Success.with_empty_result().for_empty_error()

    async def work() -> None:
        store = MemoryStore(clock.now)
        recorder = Recorder()
        async with _executors(store, [lasting], recorder=recorder):
            handles = await Client(store).enqueue_all([lasting.with_metadata(n) for n in range(220)])
            began = trio.current_time()
            for handle in handles:
                await handle.wait()
            taken = trio.current_time() - began
        store.close()
        assert peak == {"": 5}
        assert taken <= 1.05 * 220 / 5
        # Each task but the first ones was put back once, and claimed again when a share was free for it.
        assert sum(each.count for each in recorder.of(TasksLimited)) == 220 - 5

    clock.run(work)


@pytest.mark.slow
async def test_four_processes_keep_to_a_limit_exactly(shared_store: Store) -> None:
    gauges = {key: Gauge.new() for key in "ab"}
    stop = CONTEXT.Event()
    body = gauged(gauges)
    handles = await Client(shared_store).enqueue_all([body.with_metadata(Job(key)) for _ in range(150) for key in "ab"])
    workers = [start(shared_store.url, gauges, stop) for _ in range(4)]
    try:
        for handle in handles:
            await handle.wait(60)
    finally:
        stop.set()
        with trio.move_on_after(60, shield=True):
            for worker in workers:
                await trio.to_thread.run_sync(worker.join, 20)
    assert {key: gauge.most.value for key, gauge in gauges.items()} == {"a": LIMIT, "b": LIMIT}
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]


async def test_who_waits_holds_no_slot(store: Store) -> None:
    @task(concurrency_limit=ConcurrencyLimit(1))
    async def held(metadata: int, _: Empty) -> TaskResult[int, str]:
        await trio.sleep_forever()
        return Success.with_result(metadata)

    @task
    def free(metadata: int, _: Empty) -> TaskResult[int, str]:
        return Success.with_result(metadata)

    await enqueue(store, *(held.with_metadata(n) for n in range(5)))
    async with abandoned_executor(store, [held, free], config=quick(concurrency=2)) as executor:
        handle = await Client(store).enqueue(free.with_metadata(1))
        assert await handle.wait(10) == Success.with_result(1)
        await until(lambda: executor.statistics().running == 1)


@pytest.mark.parametrize("way", ["succeeded", "failed", "retried", "suspended", "crashed", "cancelled"])
async def test_whoever_stops_running_lets_the_next_one_in(store: Store, way: str) -> None:
    await _let_in_after(store, way)


async def test_a_result_with_effects_lets_the_next_one_in(sql_store: Store) -> None:
    await sql(sql_store, "create table seen (n integer)")
    await _let_in_after(sql_store, "with effects")


async def _let_in_after(store: Store, way: str) -> None:
    """Let a task that takes the only share end in this way; the next one must run."""
    entered: list[int] = []
    go_on = trio.Event()

    @task(concurrency_limit=ConcurrencyLimit(1), retry=Retry.fixed(1, timedelta(hours=1)))
    async def entering(metadata: int, _: Empty) -> TaskResult[int, str]:
        entered.append(metadata)
        if metadata == 2:
            return Success.with_result(metadata)
        await go_on.wait()
        match way:
            case "failed":
                return Failure.with_error("no").final()
            case "retried":
                return Failure.with_error("no")
            case "suspended":
                return Suspended()
            case "crashed":
                raise ValueError
            case "with effects":
                return Success.with_result(metadata).with_effects(Statement("insert into seen values (1)"))
            case _:
                return Success.with_result(metadata)

    client = Client(store)
    async with open_executor(store, [entering], config=quick()):
        first = await client.enqueue(entering.with_metadata(1))
        await until(lambda: entered)
        second = await client.enqueue(entering.with_metadata(2))
        await _until_limited(store, second.id)
        if way == "cancelled":
            await client.cancel(first.id, reason="enough")
        go_on.set()
        assert await second.wait(10) == Success.with_result(2)
    assert entered == [1, 2]


async def test_an_executor_that_stops_lets_in_whoever_waits_for_its_tasks(store: Store) -> None:
    entered: list[int] = []

    @task(concurrency_limit=ConcurrencyLimit(1))
    async def entering(metadata: int, _: Empty) -> TaskResult[int, str]:
        entered.append(metadata)
        await trio.sleep_forever()
        return Success.with_result(metadata)

    async with abandoned_executor(store, [entering], config=quick()):
        await enqueue(store, entering.with_metadata(1))
        await until(lambda: entered)
        (parked,) = await enqueue(store, entering.with_metadata(2))
        await _until_limited(store, parked)
    let_in = await record_of(store, parked)
    assert let_in.due_at == let_in.created_at


async def test_what_a_dead_executor_ran_counts_until_it_is_taken_over(store: Store) -> None:
    entered: list[int] = []

    @task(concurrency_limit=ConcurrencyLimit(1))
    async def entering(metadata: int, _: Empty) -> TaskResult[int, str]:
        entered.append(metadata)
        return Success.with_result(metadata)

    (held,) = await enqueue(store, entering.with_metadata(1))
    await store.transact(lambda session: announce(session, "other"))
    await change(store, held, events.Claimed("other", "token"))
    (parked,) = await enqueue(store, entering.with_metadata(2))
    async with open_executor(store, [entering], config=quick()):
        await _until_limited(store, parked)
        assert entered == []
        await store.transact(lambda session: session.close_lease("other"))
        for id in (held, parked):
            await until_state(store, id, TaskState.COMPLETED)
    assert entered == [1, 2]


async def test_the_line_is_by_priority_and_then_by_arrival(store: Store) -> None:
    entered: list[int] = []
    go_on = trio.Event()

    @task(concurrency_limit=ConcurrencyLimit(1))
    async def entering(metadata: int, _: Empty) -> TaskResult[int, str]:
        entered.append(metadata)
        await go_on.wait()
        return Success.with_result(metadata)

    async with open_executor(store, [entering], config=quick()):
        await enqueue(store, entering.with_metadata(0))
        await until(lambda: entered)
        waiting = [(1, 0), (2, 0), (3, 5), (4, -1), (5, 5)]
        ids = await enqueue(store, *(entering.with_metadata(n).with_priority(priority) for n, priority in waiting))
        for id in ids:
            await _until_limited(store, id)
        go_on.set()
        for id in ids:
            await until_state(store, id, TaskState.COMPLETED)
    assert entered == [0, 3, 5, 1, 2, 4]


async def test_a_waiting_task_can_be_cancelled_or_deleted_and_nobody_loses_by_it(store: Store) -> None:
    entered: list[int] = []
    go_on = trio.Event()

    @task(concurrency_limit=ConcurrencyLimit(1))
    async def entering(metadata: int, _: Empty) -> TaskResult[int, str]:
        entered.append(metadata)
        await go_on.wait()
        return Success.with_result(metadata)

    client = Client(store)
    async with open_executor(store, [entering], config=quick()):
        await enqueue(store, entering.with_metadata(0))
        await until(lambda: entered)
        cancelled, deleted, last = await enqueue(store, *(entering.with_metadata(n) for n in (1, 2, 3)))
        for id in (cancelled, deleted, last):
            await _until_limited(store, id)
        (await client.cancel(cancelled)).unwrap()
        (await client.delete(deleted)).unwrap()
        assert await _sharing(store, entering) == 1
        (await client.requeue(cancelled)).unwrap()
        await _until_limited(store, cancelled)
        go_on.set()
        for id in (last, cancelled):
            await until_state(store, id, TaskState.COMPLETED)
    assert sorted(entered) == [0, 1, 3]


async def test_a_task_that_is_older_than_its_limit_counts_under_it(store: Store) -> None:
    running: Counter[str] = Counter()
    peak: Counter[str] = Counter()
    body = counted(1, running=running, peak=peak, rate_limit=RateLimit(1_000, SECOND))

    def old(session: Session) -> None:
        now = session.now()
        empty = {"metadata_json": '{"key":""}', "execution_metadata_json": "{}"}
        session.insert([sample(n, name="counted", created_at=now, due_at=now, **empty) for n in range(6)])

    await store.transact(old)
    async with _executors(store, [body]):
        await until_async(lambda: _all_ended(store))
    assert peak == {"": 1}
    (record, *_) = (await Client(store).search(TaskQuery())).records
    assert (record.rate_key, record.concurrency_key) == ("", "")


# What nobody's end lets in


def limited(most: int | None) -> dict[str, Policy]:
    return {"send": Policy(concurrency_limit=None if most is None else ConcurrencyLimit(most))}


async def _line_of(store: Store, count: int) -> list[TaskId]:
    """So many tasks that wait for shares which nobody uses."""

    def park(session: Session) -> list[TaskId]:
        now = session.now()
        due_at, created_at = now + timedelta(hours=1), now - timedelta(hours=1)
        waits = {"limited_by": LimitKind.CONCURRENCY, "concurrency_key": "", "due_at": due_at}
        records = [sample(n, created_at=created_at, **waits) for n in range(count)]
        session.insert(records)
        return [record.id for record in records]

    return await store.transact(park)


async def _due(store: Store) -> int:
    records = (await Client(store).search(TaskQuery())).records
    return sum(record.due_at == record.created_at for record in records)


@pytest.mark.parametrize(("most", "let_in"), [(2, 2), (9, 5), (None, 5)])
async def test_who_waits_though_there_is_room_is_let_in_by_any_executor(
    store: Store, most: int | None, let_in: int
) -> None:
    await _line_of(store, 5)
    after = await store.transact(lambda session: tend(session, limited(most), now=session.now()))
    assert after is None
    assert await _due(store) == let_in


async def test_nobody_is_let_in_where_there_is_no_room_or_no_definition(store: Store) -> None:
    ids = await _line_of(store, 2)
    await store.transact(lambda session: announce(session, "other"))
    await change(store, ids[0], events.Claimed("other", "token"))
    await store.transact(lambda session: tend(session, limited(1), now=session.now()))
    await store.transact(lambda session: tend(session, {}, now=session.now()))
    assert await _due(store) == 0


async def test_rates_that_say_nothing_any_more_are_forgotten(store: Store) -> None:
    idle, used = LimitKey("send", "idle"), LimitKey("send", "used")

    def tended(session: Session) -> dict[LimitKey, RateUse]:
        now = session.now()
        session.limits.put_rates({idle: now - timedelta(hours=1), used: now + timedelta(hours=1)})
        tend(session, {}, now=now)
        return session.limits.rates([idle, used])

    rates = await store.transact(tended)
    assert rates[idle] == RateUse()
    assert rates[used] != RateUse()


def test_tasks_without_limits_ask_the_store_for_nothing() -> None:
    claimed = [attrs.evolve(sample(n), state=TaskState.RUNNING, executor="me", due_at=None) for n in range(3)]
    no_store = cast("Session", None)
    admitted = admit(no_store, claimed, [sample(9)], {"send": Policy()}, now=T0)
    assert (list(admitted.start), list(admitted.ended), dict(admitted.waiting)) == (claimed, [], {})


@asynccontextmanager
async def _executors(
    store: Store, tasks: list[AnyTask], *, count: int = 3, recorder: Recorder | None = None
) -> AsyncGenerator[None]:
    async with AsyncExitStack() as stack:
        for _ in range(count):
            await stack.enter_async_context(open_executor(store, tasks, config=quick(concurrency=5), observer=recorder))
        yield


async def _until_limited(store: Store, id: TaskId) -> None:
    async def is_limited() -> bool:
        return (await record_of(store, id)).limited_by is not None

    await until_async(is_limited, "the task to wait for its limit")


async def _all_ended(store: Store) -> bool:
    records = (await Client(store).search(TaskQuery())).records
    return all(record.state.is_final for record in records)


async def _sharing(store: Store, body: AnyTask) -> int:
    key = LimitKey(body.name, "")
    return (await store.read(lambda session: session.limits.running([key])))[key]


async def _history(store: Store) -> Any:
    (record,) = (await Client(store).search(TaskQuery())).records
    return await Client(store).history(record.id)
