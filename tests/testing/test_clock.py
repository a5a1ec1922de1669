"""Virtual time: what is to be waited for comes at once and in order, for trio, for stores and for executors alike."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
import trio
import trio.testing

from milepost import (
    Client,
    ConcurrencyLimit,
    Empty,
    Failure,
    HistoryKind,
    Retry,
    Schedule,
    Success,
    Suspended,
    TaskId,
    TaskResult,
    TaskState,
    every,
    open_executor,
    open_store,
    task,
)
from milepost.stores.protocol import ClaimOrder, Session
from milepost.testing import VirtualClock, virtual_clock
from milepost.testing.clock import START, patient_config
from milepost.testing.conformance.kit import sample_lease

DAY = timedelta(days=1)


# The clock


def test_days_of_sleep_pass_at_once_and_in_order() -> None:
    clock = virtual_clock()
    waked: list[tuple[int, datetime]] = []

    async def sleep(days: int) -> None:
        await trio.sleep(days * DAY.total_seconds())
        waked.append((days, clock.now()))

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for days in (300, 1, 20):
                nursery.start_soon(sleep, days)

    clock.run(main)
    assert waked == [(days, START + days * DAY) for days in (1, 20, 300)]


def test_it_goes_on_in_the_next_run() -> None:
    clock = virtual_clock(datetime(2028, 2, 28, tzinfo=timezone(timedelta(hours=2))))
    for _ in range(3):
        clock.run(trio.sleep, DAY.total_seconds())
    assert clock.now() == datetime(2028, 3, 1, 22, tzinfo=UTC)
    assert clock.now().tzinfo is UTC


def test_time_limits_count_virtual_seconds() -> None:
    async def main() -> float:
        with trio.move_on_after(3_600):
            await trio.sleep_forever()
        return trio.current_time()

    clock = virtual_clock()
    assert clock.run(main) == 3_600


def test_time_does_not_pass_while_a_thread_works() -> None:
    clock = virtual_clock()
    seen: list[datetime] = []

    async def work() -> None:
        done = threading.Event()

        def until_told() -> datetime:
            done.wait()
            return clock.now()

        async def tell() -> None:
            await trio.testing.wait_all_tasks_blocked(0.02)
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(tell)
            nursery.start_soon(trio.sleep, 60)
            seen.append(await trio.to_thread.run_sync(until_told))

    clock.run(work)
    assert seen == [START]
    assert clock.now() == START + timedelta(minutes=1)


def test_whoever_waits_until_all_are_blocked_goes_first() -> None:
    clock = virtual_clock()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 60)
            for _ in range(5):
                await trio.testing.wait_all_tasks_blocked()
                await trio.lowlevel.checkpoint()
                assert clock.now() == START

    clock.run(main)


def test_without_jumps_time_stands_still_until_it_is_advanced() -> None:
    clock = virtual_clock(autojump=False)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 60)
            await trio.testing.wait_all_tasks_blocked(0.02)
            assert clock.now() == START
            clock.advance(timedelta(seconds=59))
            await trio.testing.wait_all_tasks_blocked(0.02)
            assert nursery.child_tasks
            clock.advance(1)

    clock.run(main)
    assert clock.now() == START + timedelta(minutes=1)


@pytest.mark.parametrize("by", [-1, timedelta(-1), float("inf"), float("nan")])
def test_time_goes_neither_back_nor_for_ever(by: float | timedelta) -> None:
    with pytest.raises(ValueError, match="time passes by zero or more"):
        virtual_clock().advance(by)


def test_a_start_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        VirtualClock(datetime(2030, 1, 1))


def test_a_run_that_waits_by_another_clock_is_told_so() -> None:
    clock = virtual_clock()

    async def main() -> None:
        clock.now()

    with pytest.raises(RuntimeError, match=r"run it by clock\.run\(main\)"):
        trio.run(main)


# Executors and stores by it


def test_retries_and_suspensions_of_days_take_no_time() -> None:
    clock = virtual_clock()
    tries: list[datetime] = []

    @task(retry=Retry.fixed(5, 3 * DAY))
    async def approve(days: int, asked: int) -> TaskResult[datetime, str, int]:
        tries.append(clock.now())
        if len(tries) < 3:
            return Failure.with_error("closed")
        return Success.with_result(clock.now()) if asked else Suspended(1).after(days * DAY)

    async def main() -> None:
        async with (
            open_store("memory:", clock=clock.now) as store,
            open_executor(store, [approve], config=patient_config()),
        ):
            handle = await Client(store).enqueue(approve.with_metadata(30).with_execution_metadata(0))
            outcome = await handle.wait()
        assert outcome == Success.with_result(tries[-1])

    clock.run(main)
    assert [(each - START) // DAY for each in tries] == [0, 3, 6, 36]


def test_a_lease_runs_out_and_another_executor_goes_on() -> None:
    clock = virtual_clock()

    @task
    async def hold(metadata: int, reached: int) -> TaskResult[datetime, str]:
        return Success.with_result(clock.now())

    def die(session: Session) -> None:
        """Claim everything, as an executor that dies right after it."""
        now = session.now()
        session.open_lease(sample_lease("dead", now + timedelta(seconds=30)))
        assert session.claim(ClaimOrder("dead", "default", {"hold": 1}, 10), now=now)

    async def main() -> None:
        async with open_store("memory:", clock=clock.now) as store:
            handle = await Client(store).enqueue(hold.with_metadata(1).with_execution_metadata(0))
            await store.transact(die)
            async with open_executor(store, [hold]):
                outcome = await handle.wait()
            assert isinstance(outcome, Success)
            assert timedelta(seconds=30) <= outcome.result - START < timedelta(seconds=40)

    clock.run(main)


def test_a_schedule_fires_each_hour_of_a_week() -> None:
    clock = virtual_clock()
    fired: list[datetime] = []

    @task
    async def tick(_: Empty, __: Empty) -> TaskResult[Empty, Empty]:
        fired.append(clock.now())
        return Success.with_empty_result().for_empty_error()

    async def main() -> None:
        async with open_store("memory:", clock=clock.now) as store:
            client = Client(store)
            await client.schedule(Schedule("hourly", tick.with_metadata(Empty()), every(timedelta(hours=1))))
            async with open_executor(store, [tick], config=patient_config()):
                await trio.sleep(7 * DAY.total_seconds() + 60)

    clock.run(main)
    assert len(fired) == 7 * 24
    assert all(later - earlier < timedelta(hours=2) for earlier, later in pairwise(fired))


def test_limits_are_shared_by_executors_on_one_clock() -> None:
    clock = virtual_clock()
    running = peak = 0

    @task(concurrency_limit=ConcurrencyLimit(2))
    async def limited(seconds: int, _: Empty) -> TaskResult[Empty, Empty]:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await trio.sleep(seconds)
        running -= 1
        return Success.with_empty_result().for_empty_error()

    async def main() -> None:
        async with open_store("memory:", clock=clock.now) as store:
            client = Client(store)
            handles = [await client.enqueue(limited.with_metadata(3_600)) for _ in range(6)]
            async with (
                open_executor(store, [limited], config=patient_config()),
                open_executor(store, [limited], config=patient_config()),
            ):
                for handle in handles:
                    await handle.wait()
                history = await client.history(TaskId(handles[-1].id))
                assert (await client.get(handles[-1].id)).unwrap().state is TaskState.COMPLETED
        assert HistoryKind.CLAIMED in [event.kind for event in history]

    clock.run(main)
    assert peak == 2
    assert START + timedelta(hours=3) <= clock.now() < START + timedelta(hours=4)
