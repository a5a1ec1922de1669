"""What one task, row or observer does wrong stays its own: the executor and the others go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import attrs
import pytest
import trio
import trio.testing

from milepost import (
    Client,
    Crash,
    CrashKind,
    Execution,
    Failure,
    Json,
    Retry,
    Store,
    Success,
    Suspended,
    TaskDefinitionError,
    TaskResult,
    TaskState,
    open_executor,
    open_store,
    task,
)
from milepost.telemetry import Observation
from tests.executor.kit import MovableClock, abandoned_executor, enqueue, quick, record_of, run, sql, until, until_state

pytestmark = pytest.mark.anyio


@task
async def fine(metadata: int, progress: int) -> TaskResult[int, str]:
    await trio.lowlevel.checkpoint()
    return Success.with_result(metadata)


async def test_an_observer_that_raises_is_logged_and_disturbs_nothing(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def crash(observation: Observation) -> None:
        raise LookupError("the observer is broken")

    handles = await Client(store).enqueue_all([fine.with_metadata(n) for n in range(5)])
    async with open_executor(store, [fine], config=quick(), observer=crash):
        assert [await handle.wait(10) for handle in handles] == [Success.with_result(n) for n in range(5)]
    assert "the observer raised on" in caplog.text


@task
def raising(metadata: int, progress: int) -> TaskResult[int, str]:
    raise LookupError("no such thing")


class Undecided:
    def covers_exception(self, error: BaseException) -> bool:
        return True

    def delay(self, failures: int, *, seed: str = "") -> timedelta | None:
        raise RuntimeError("cannot decide")


async def test_a_crash_that_its_policy_cannot_decide_on_is_final_and_not_run_again_and_again(store: Store) -> None:
    policy = attrs.evolve(raising.policy, retry=cast("Any", Undecided()))
    broken = attrs.evolve(raising, policy=policy)
    handle = await Client(store).enqueue(broken.with_metadata(1))
    async with open_executor(store, [broken], config=quick()):
        outcome = await handle.wait(10)
    assert isinstance(outcome, Crash)
    assert outcome.message == "cannot decide"


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def raise_group() -> None:
    raise ExceptionGroup("several", [KeyError("a"), ValueError("b")])


def raise_base_group() -> None:
    raise BaseExceptionGroup("several", [SystemExit(3), ValueError("b")])


def raise_foreign_cancel() -> None:
    raise asyncio.CancelledError


def leave() -> None:
    raise SystemExit(3)


def end_a_generator() -> None:
    raise GeneratorExit


def stop_iterating() -> None:
    raise StopIteration


def raise_unprintable() -> None:
    raise Unprintable


def recurse() -> None:
    recurse()


WAYS: dict[str, tuple[Callable[[], None], str, str]] = {
    "SystemExit": (leave, "SystemExit", "3"),
    "GeneratorExit": (end_a_generator, "GeneratorExit", ""),
    "an exception without a text": (raise_unprintable, "Unprintable", "cannot be shown"),
    "an exception group": (raise_group, "ExceptionGroup", "several (2 sub-exceptions)"),
    "a group with SystemExit": (raise_base_group, "BaseExceptionGroup", "several"),
    "a foreign cancel": (raise_foreign_cancel, "CancelledError", ""),
    "too deep a recursion": (recurse, "RecursionError", "maximum recursion depth"),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("shape", ["pure", "async", "blocking"])
async def test_whatever_a_task_raises_is_its_own_crash(
    store: Store, way: tuple[Callable[[], None], str, str], shape: str
) -> None:
    explode, type_name, message = way

    @task(retry=Retry.never(), name="broken")
    def pure(metadata: int, progress: int) -> TaskResult[int, str]:
        explode()
        return Success.with_result(1)

    @task(retry=Retry.never(), name="broken")
    async def waiting(metadata: int, progress: int) -> TaskResult[int, str]:
        await trio.lowlevel.checkpoint()
        explode()
        return Success.with_result(1)

    @task(retry=Retry.never(), name="broken", blocking=True)
    def blocking(metadata: int, progress: int) -> TaskResult[int, str]:
        explode()
        return Success.with_result(1)

    broken = {"pure": pure, "async": waiting, "blocking": blocking}[shape]
    crash, before, after = await run(
        store, [broken, fine], broken.with_metadata(1), fine.with_metadata(1), fine.with_metadata(2)
    )
    assert (before, after) == (Success.with_result(1), Success.with_result(2))
    assert isinstance(crash, Crash)
    assert crash.kind is CrashKind.EXCEPTION
    assert crash.type_name.endswith(type_name)
    assert message in crash.message


async def test_a_cancelled_of_trios_that_nobody_asked_for_is_a_crash_and_not_a_cancel(store: Store) -> None:
    @task(retry=Retry.never())
    async def keeper(metadata: int, progress: int) -> TaskResult[int, str]:
        kept: list[BaseException] = []
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as cancelled:
                kept.append(cancelled)
                raise
        raise kept[0]

    crash, other = await run(store, [keeper, fine], keeper.with_metadata(1), fine.with_metadata(2))
    assert other == Success.with_result(2)
    assert isinstance(crash, Crash)
    assert (crash.kind, crash.type_name) == (CrashKind.EXCEPTION, "trio.Cancelled")


WRONG: dict[str, tuple[object, str]] = {
    "nothing": (None, "returned None, which is none of Success"),
    "a plain value": (3, "returned 3, which is none of"),
    "a class": (Success, "which is none of Success"),
    "an unfinished Failure": (
        Failure.for_result(int),
        "unfinished FailureFor: finish it with .for_error or .with_error",
    ),
    "an unfinished Suspended": (Suspended.with_execution_metadata(3).for_result(int), "unfinished SuspendedFor"),
    "an unfinished Suspended without types": (Suspended.with_execution_metadata(3), "unfinished SuspendedWith"),
    "a result of another type": (Success.with_result("text"), "result that 'confused' returned cannot be stored"),
    "an error of another type": (Failure.with_error(3), "error that 'confused' returned cannot be stored"),
    "a number that JSON has not": (Success.with_result(float("nan")), "cannot be stored"),
    "a text that no store can hold": (Failure.with_error("\ud800"), "cannot be stored"),
    "a NUL in a text": (Failure.with_error("a\0b"), "cannot be stored"),
    "execution metadata of another type": (Suspended(object()), "execution metadata that 'confused' returned"),
    "too much": (Failure.with_error("x" * 2_000_000), "cannot be stored"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
async def test_an_answer_that_is_none_is_a_crash_that_says_what_was_wrong(
    store: Store, wrong: tuple[object, str]
) -> None:
    answer, message = wrong

    @task(retry=Retry.never())
    async def confused(metadata: int, progress: int) -> TaskResult[float | int, str, int]:
        return cast("TaskResult[int, str, int]", answer)

    crash, other = await run(store, [confused, fine], confused.with_metadata(1), fine.with_metadata(2))
    assert other == Success.with_result(2)
    assert isinstance(crash, Crash)
    assert crash.type_name == "milepost.errors.InvalidResult"
    assert message in crash.message
    assert len(crash.message) < 5_000


class NoRepr:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


async def test_an_answer_that_cannot_even_be_shown_is_a_crash(store: Store) -> None:
    @task(retry=Retry.never())
    async def confused(metadata: int, progress: int) -> TaskResult[int, str]:
        return cast("TaskResult[int, str]", NoRepr())

    crash, other = await run(store, [confused, fine], confused.with_metadata(1), fine.with_metadata(2))
    assert other == Success.with_result(2)
    assert isinstance(crash, Crash)


DAMAGE: dict[str, str] = {
    "metadata_json": "{not json",
    "execution_metadata_json": "",
}


@pytest.mark.parametrize("column", DAMAGE)
async def test_a_damaged_row_is_released_with_a_reason_then_quarantined_and_its_neighbours_run(
    tmp_path: Any, column: str
) -> None:
    clock = MovableClock()
    async with open_store(f"sqlite:///{tmp_path / 'tasks.db'}", clock=clock) as store:
        poison, *others = await enqueue(store, *(fine.with_metadata(n) for n in range(6)))
        await sql(store, f"update milepost_task set {column} = ? where id = ?", DAMAGE[column], poison)
        async with open_executor(store, [fine], config=quick()):
            for id in others:
                await until_state(store, id, TaskState.COMPLETED)
            released = await until_state(store, poison, TaskState.PENDING)
            assert released.due_at is not None
            for _ in range(4):
                stalls = (await record_of(store, poison)).stalls
                clock.forward(timedelta(minutes=10))
                await _until_stalls(store, poison, stalls + 1)
            outcome = await Client(store).wait(poison)
            handle = await Client(store).enqueue(fine.with_metadata(9))
            assert await handle.wait(10) == Success.with_result(9)
    assert isinstance(outcome, Crash)
    assert outcome.kind is CrashKind.UNDECODABLE
    async with open_store(f"sqlite:///{tmp_path / 'tasks.db'}") as store:
        ((bytes_kept,),) = await sql(store, f"select {column} from milepost_task where id = ?", poison)
        assert bytes_kept == DAMAGE[column]
        lines = await Client(store).history(poison)
        assert all(line.reason for line in lines if line.kind.value in ("released", "quarantined"))
        assert (await record_of(store, poison)).failures == 0


async def _until_stalls(store: Store, id: Any, stalls: int) -> None:
    from tests.executor.kit import until_async

    async def reached() -> bool:
        record = await record_of(store, id)
        return record.stalls >= stalls and record.state is not TaskState.RUNNING

    await until_async(reached, f"stall {stalls}")


async def test_a_row_of_a_newer_version_is_left_for_a_newer_executor(store: Store) -> None:
    @task(name="greet", version=2, upgrades={1: lambda m, x: (m, x)})
    def newer(metadata: int, progress: int) -> TaskResult[int, str]:
        return Success.with_result(2)

    @task(name="greet")
    def older(metadata: int, progress: int) -> TaskResult[int, str]:
        return Success.with_result(1)

    new, old, other = await enqueue(store, newer.with_metadata(1), older.with_metadata(1), fine.with_metadata(1))
    async with open_executor(store, [older, fine], config=quick()):
        await until_state(store, old, TaskState.COMPLETED)
        await until_state(store, other, TaskState.COMPLETED)
    untouched = await record_of(store, new)
    assert (untouched.state, untouched.fence) == (TaskState.PENDING, 0)
    async with open_executor(store, [newer], config=quick()):
        assert (await until_state(store, new, TaskState.COMPLETED)).result == 2


async def test_an_old_row_is_upgraded_and_one_without_an_upgrade_is_released_with_the_reason(store: Store) -> None:
    def broken(metadata: Json, progress: Json) -> tuple[Json, Json]:
        raise LookupError("no idea")

    @task(name="greet")
    def first(metadata: int, progress: int) -> TaskResult[int, str]:
        return Success.with_result(0)

    @task(name="greet", version=2, upgrades={1: lambda m, x: ([m, "world"], x)})
    def upgraded(metadata: list[int | str], progress: int) -> TaskResult[int, str]:
        return Success.with_result(len(metadata))

    @task(name="part", version=1)
    def part(metadata: int, progress: int) -> TaskResult[int, str]:
        return Success.with_result(0)

    @task(name="part", version=2, upgrades={1: broken})
    def part_broken(metadata: int, progress: int) -> TaskResult[int, str]:
        return Success.with_result(0)

    good, bad = await enqueue(store, first.with_metadata(7), part.with_metadata(7))
    async with open_executor(store, [upgraded, part_broken], config=quick()):
        assert (await until_state(store, good, TaskState.COMPLETED)).result == 2
        await until_async_reason(store, bad, "the upgrade from version 1 failed: LookupError: no idea")


async def until_async_reason(store: Store, id: Any, reason: str) -> None:
    from tests.executor.kit import until_async

    async def told() -> bool:
        return any(reason in line.reason for line in await Client(store).history(id))

    await until_async(told, reason)


async def test_a_task_of_an_unknown_name_is_never_claimed(store: Store) -> None:
    @task
    def stranger(metadata: int, progress: int) -> TaskResult[int, str]:
        return Success.with_result(1)

    unknown, known = await enqueue(store, stranger.with_metadata(1).with_priority(9), fine.with_metadata(1))
    async with open_executor(store, [fine], config=quick(concurrency=1)) as executor:
        await until_state(store, known, TaskState.COMPLETED)
        turns = executor.statistics().turns
        await until(lambda: executor.statistics().turns > turns + 2)
        assert executor.statistics().claimed == 1
    record = await record_of(store, unknown)
    assert (record.state, record.fence, record.stalls) == (TaskState.PENDING, 0, 0)


async def test_two_tasks_of_one_name_are_refused_before_anything_starts(store: Store) -> None:
    @task(name="fine")
    def twin(metadata: int, progress: int) -> TaskResult[int, str]:
        return Success.with_result(1)

    with pytest.raises(TaskDefinitionError, match="two tasks have the name 'fine'"):
        async with open_executor(store, [fine, twin]):
            pass
    assert await store.read(lambda session: session.leases()) == []


class Crowd:
    """Counts who runs at once, in each queue."""

    def __init__(self) -> None:
        self.now: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.order: list[str] = []

    async def visit(self, queue: str) -> None:
        self.now[queue] = self.now.get(queue, 0) + 1
        self.now["all"] = self.now.get("all", 0) + 1
        self.order.append(queue)
        for each in (queue, "all"):
            self.most[each] = max(self.most.get(each, 0), self.now[each])
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        self.now[queue] -= 1
        self.now["all"] -= 1


@pytest.mark.parametrize("concurrency", [1, 3, 10])
async def test_no_more_than_concurrency_run_at_once(store: Store, concurrency: int) -> None:
    crowd = Crowd()

    @task
    async def visitor(metadata: int, progress: int) -> TaskResult[int, str]:
        await crowd.visit("default")
        return Success.with_result(1)

    await run(store, [visitor], *(visitor.with_metadata(n) for n in range(40)), config=quick(concurrency=concurrency))
    assert crowd.most["all"] == concurrency


async def test_each_queue_keeps_its_own_limit_and_none_is_starved(store: Store) -> None:
    crowd = Crowd()

    @task
    async def visitor(metadata: str, progress: int) -> TaskResult[int, str]:
        await crowd.visit(metadata)
        return Success.with_result(1)

    # Of four slots each queue gets two, until one of them has nothing left and the other runs as many as it may.
    counts = {"bulk": 30, "mail": 60}
    requests = [visitor.with_metadata(queue).in_queue(queue) for queue, n in counts.items() for _ in range(n)]
    outside = await enqueue(store, visitor.with_metadata("other").in_queue("other"))
    await run(store, [visitor], *requests, config=quick(concurrency=4, queues={"bulk": 2, "mail": 3}))
    assert (crowd.most["bulk"], crowd.most["mail"]) == (2, 3)
    assert crowd.most["all"] <= 4
    assert "other" not in crowd.most
    assert (await record_of(store, outside[0])).state is TaskState.PENDING
    assert crowd.order.index("mail") < 20
    assert crowd.order.index("bulk") < 20


async def test_a_queue_at_its_limit_goes_on_as_soon_as_a_slot_is_free_and_not_at_the_next_poll(store: Store) -> None:
    requests = [fine.with_metadata(n).in_queue("bulk") for n in range(20)]
    config = quick(concurrency=50, queues={"bulk": 2, "mail": 3}, poll_seconds=60)
    with trio.fail_after(5):
        assert len(await run(store, [fine], *requests, config=config)) == 20


async def test_an_executor_with_free_slots_and_full_queues_rests(store: Store) -> None:
    started = trio.Event()

    @task
    async def sit(metadata: int, progress: int) -> TaskResult[int, str]:
        started.set()
        await trio.sleep_forever()

    await enqueue(store, *(sit.with_metadata(n).in_queue("bulk") for n in range(3)))
    config = quick(concurrency=10, queues={"bulk": 1}, poll_seconds=60)
    async with abandoned_executor(store, [sit], config=config):
        await started.wait()
        with trio.fail_after(5):
            await trio.testing.wait_all_tasks_blocked(0.001)  # a loop that never rests is never blocked


async def test_with_one_slot_and_a_full_queue_the_other_queue_gets_its_turns(store: Store) -> None:
    order: list[str] = []

    @task
    async def visitor(metadata: str, progress: int) -> TaskResult[int, str]:
        order.append(metadata)
        return Success.with_result(1)

    requests = [visitor.with_metadata("a").in_queue("a") for _ in range(30)]
    requests += [visitor.with_metadata("z").in_queue("z") for _ in range(3)]
    await run(store, [visitor], *requests, config=quick(concurrency=1))
    assert "z" in order[:10]


async def test_a_task_that_waits_does_not_keep_a_quick_one_from_running(store: Store) -> None:
    finish = trio.Event()

    @task
    async def slow(metadata: int, progress: int) -> TaskResult[int, str]:
        await finish.wait()
        return Success.with_result(1)

    await enqueue(store, slow.with_metadata(1))
    async with open_executor(store, [slow, fine], config=quick(concurrency=2)):
        for number in range(10):
            handle = await Client(store).enqueue(fine.with_metadata(number))
            assert await handle.wait(10) == Success.with_result(number)
        finish.set()


async def test_settings_may_change_while_tasks_run(store: Store) -> None:
    started: list[int] = []
    finish = trio.Event()

    @task
    async def slow(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        started.append(metadata)
        await finish.wait()
        return Success.with_result(1)

    await enqueue(store, *(slow.with_metadata(n) for n in range(6)))
    async with open_executor(store, [slow], config=quick(concurrency=2)) as executor:
        await until(lambda: len(started) == 2)
        executor.reconfigure(quick(concurrency=5))
        await until(lambda: len(started) == 5)
        assert executor.config.concurrency == 5
        finish.set()
        await until(lambda: len(started) == 6)
