"""Progress: what is committed stays, in order; what belongs together happens together, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest
import trio
from returns.result import Failure as Refused
from returns.result import Result
from returns.result import Success as Done

from milepost import (
    Audit,
    BlockingExecution,
    ClaimLost,
    Client,
    EffectTimeout,
    Execution,
    HistoryKind,
    InvalidPayload,
    Retry,
    Statement,
    Store,
    Success,
    TaskRecord,
    TaskResult,
    TaskState,
    Transaction,
    open_executor,
    open_store,
    task,
)
from milepost.executor.turn import Delivery, deliver
from milepost.lifecycle import events
from milepost.lifecycle.events import Event
from milepost.lifecycle.transition import Policy
from milepost.payload import JsonText
from milepost.stores.protocol import Session
from tests.executor.kit import (
    AnyTask,
    Recorder,
    abandoned_executor,
    announce,
    change,
    enqueue,
    kinds_of,
    placeholders,
    quick,
    record_of,
    run,
    sql,
    until,
    until_state,
)

pytestmark = pytest.mark.anyio

CREATE = "create table ledger (entry text unique)"
INSERT = "insert into ledger values (?)"


async def ledger(store: Store) -> list[str]:
    return [entry for (entry,) in await sql(store, "select entry from ledger order by entry")]


async def test_the_commits_of_children_are_ordered_and_each_is_durable_when_it_returns(store: Store) -> None:
    returned: list[int] = []
    durable: list[bool] = []

    @task(audit=Audit.FULL)
    async def busy(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        async def child(number: int) -> None:
            await execution.commit(number)
            returned.append(number)
            place = len(returned)
            durable.append((await record_of(store, execution.id)).sequence >= place)

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(child, number)
        return Success.with_result(1)

    (id,) = await enqueue(store, busy.with_metadata(1))
    async with open_executor(store, [busy], config=quick()) as executor:
        await Client(store).wait(id)
        assert executor.statistics().commits == 20
    record = await record_of(store, id)
    assert sorted(returned) == list(range(20))
    assert (record.sequence, record.execution_metadata) == (20, returned[-1])
    assert durable == [True] * 20
    assert (await kinds_of(store, id)).count(HistoryKind.COMMITTED) == 20


async def _cancel(store: Store, task_id: Any) -> None:
    await Client(store).cancel(task_id, reason="enough")


@pytest.mark.parametrize("stop", ["cancel", "shutdown"])
@pytest.mark.parametrize("blocking", [False, True], ids=["async", "blocking"])
async def test_nothing_comes_between_an_effect_and_its_commit(store: Store, stop: str, blocking: bool) -> None:
    started, finish = trio.Event(), trio.Event()
    effects: list[str] = []

    @task
    async def careful(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        async def effect() -> Result[int, str]:
            with trio.CancelScope(shield=True):
                started.set()
                await finish.wait()
                await execution.wait_stopping()
            effects.append("done")
            return Done(7)

        await execution.commit_after(effect, lambda value: value + 1)
        await trio.sleep_forever()

    @task(blocking=True)
    def careful_thread(metadata: int, progress: int, execution: BlockingExecution[int]) -> TaskResult[int, str]:
        def effect() -> Result[int, str]:
            trio.from_thread.run_sync(started.set)
            execution.wait_stopping()
            effects.append("done")
            return Done(7)

        execution.commit_after(effect, lambda value: value + 1)
        execution.wait_stopping()
        execution.commit(-1)
        return Success.with_result(1)

    chosen: AnyTask = careful_thread if blocking else careful
    (id,) = await enqueue(store, chosen.with_metadata(1))
    async with open_executor(store, [chosen], config=quick(cleanup_seconds=5)) as executor:
        await started.wait()
        finish.set()
        if stop == "cancel":
            await _cancel(store, id)
            await until_state(store, id, TaskState.CANCELLED)
        else:
            await executor.interrupt()
    record = await record_of(store, id)
    assert effects == ["done"]
    assert (record.execution_metadata, record.sequence) == (8, 1)
    assert record.state is (TaskState.CANCELLED if stop == "cancel" else TaskState.INTERRUPTED)


async def test_commit_after_commits_nothing_when_the_effect_fails_or_raises(store: Store) -> None:
    answers: list[object] = []

    @task(retry=Retry.fixed(1, timedelta(0)))
    async def careful(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        async def refuse() -> Result[int, str]:
            return Refused("no")

        async def explode() -> Result[int, str]:
            raise LookupError("boom")

        answers.append(await execution.commit_after(refuse, 5))
        if execution.attempt == 1:
            await execution.commit_after(explode, 5)
        return Success.with_result(progress)

    (id,) = await enqueue(store, careful.with_metadata(1))
    async with open_executor(store, [careful], config=quick()):
        record = await until_state(store, id, TaskState.COMPLETED)
    assert answers == [Refused("no"), Refused("no")]
    assert (record.result, record.sequence) == (0, 0)


def entry(store: Store, text: str) -> Callable[[Transaction], Result[int, str]]:
    def effect(transaction: Transaction) -> Result[int, str]:
        transaction.execute(placeholders(store, INSERT), (text,))
        return Done(len(text))

    return effect


@pytest.mark.parametrize("blocking", [False, True], ids=["async", "blocking"])
async def test_commit_with_does_the_effect_and_the_commit_together(sql_store: Store, blocking: bool) -> None:
    await sql(sql_store, CREATE)

    @task
    async def booking(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        assert await execution.commit_with(entry(sql_store, "one"), 1) == Done(3)
        await execution.commit_with(entry(sql_store, "three"), lambda value: value)
        return Success.with_result(1)

    @task(blocking=True)
    def booking_thread(metadata: int, progress: int, execution: BlockingExecution[int]) -> TaskResult[int, str]:
        assert execution.commit_with(entry(sql_store, "one"), 1) == Done(3)
        execution.commit_with(entry(sql_store, "three"), lambda value: value)
        return Success.with_result(1)

    chosen: AnyTask = booking_thread if blocking else booking
    (id,) = await enqueue(sql_store, chosen.with_metadata(1))
    async with open_executor(sql_store, [chosen], config=quick()):
        record = await until_state(sql_store, id, TaskState.COMPLETED)
    assert (record.execution_metadata, record.sequence) == (5, 2)
    assert await ledger(sql_store) == ["one", "three"]


async def test_an_effect_that_fails_or_raises_is_rolled_back_with_its_commit_and_the_run_goes_on(
    sql_store: Store,
) -> None:
    await sql(sql_store, CREATE)
    insert = placeholders(sql_store, INSERT)
    raised: list[BaseException] = []

    def refuse(transaction: Transaction) -> Result[int, str]:
        transaction.execute(insert, ("refused",))
        return Refused("no")

    def explode(transaction: Transaction) -> Result[int, str]:
        transaction.execute(insert, ("raised",))
        raise LookupError("boom")

    def misspell(transaction: Transaction) -> Result[int, str]:
        transaction.execute(insert, ("misspelt",))
        transaction.execute("insert into nowhere values (1)")
        return Done(1)

    @task
    async def booking(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        assert await execution.commit_with(refuse, 1) == Refused("no")
        for effect in (explode, misspell):
            try:
                await execution.commit_with(effect, 1)
            except Exception as error:
                raised.append(error)
        await execution.commit_with(entry(sql_store, "fine"), 9)
        return Success.with_result(1)

    (id,) = await enqueue(sql_store, booking.with_metadata(1))
    async with open_executor(sql_store, [booking], config=quick()):
        record = await until_state(sql_store, id, TaskState.COMPLETED)
    assert (record.execution_metadata, record.sequence) == (9, 1)
    assert await ledger(sql_store) == ["fine"]
    assert isinstance(raised[0], LookupError)
    assert "nowhere" in str(raised[1])


async def test_an_effect_that_asks_for_sql_where_there_is_none_raises_inside_the_run() -> None:
    raised: list[str] = []

    @task
    async def booking(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        try:
            await execution.commit_with(entry(store, "one"), 1)
        except Exception as error:
            raised.append(str(error))
        return Success.with_result(1)

    async with open_store("memory:") as store:
        assert await run(store, [booking], booking.with_metadata(1)) == [Success.with_result(1)]
    assert "the memory store has no SQL" in raised[0]


@pytest.mark.slow
async def test_an_effect_that_takes_too_long_is_cut_and_rolled_back(sql_store: Store) -> None:
    await sql(sql_store, CREATE)
    insert = placeholders(sql_store, INSERT)
    raised: list[BaseException] = []
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) from n"

    def count_for_ever(transaction: Transaction) -> Result[int, str]:
        transaction.execute(insert, ("late",))
        transaction.execute(endless)
        return Done(1)

    @task(retry=Retry.never())
    async def booking(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        try:
            await execution.commit_with(count_for_ever, 1)
        except EffectTimeout as error:
            raised.append(error)
        return Success.with_result(1).with_effects(Statement(insert, ("also late",)), Statement(endless))

    (id,) = await enqueue(sql_store, booking.with_metadata(1))
    async with open_executor(sql_store, [booking], config=quick(effect_seconds=0.1)):
        record = await until_state(sql_store, id, TaskState.FAILED)
    assert len(raised) == 1
    assert record.crash is not None
    assert record.crash.type_name == "milepost.errors.EffectTimeout"
    assert (record.execution_metadata, await ledger(sql_store)) == (0, [])


async def test_what_cannot_be_stored_raises_inside_the_run_and_writes_nothing(store: Store) -> None:
    refusals: list[str] = []

    @task
    async def clumsy(metadata: int, progress: float, execution: Execution[float]) -> TaskResult[int, str]:
        async def fine() -> Result[int, str]:
            return Done(1)

        attempts: list[Callable[[], Coroutine[Any, Any, object]]] = [
            lambda: execution.commit(float("nan")),
            lambda: execution.commit_after(fine, float("inf")),
            lambda: execution.commit_with(lambda _: Done(1), float("nan")),
        ]
        for attempt in attempts:
            try:
                await attempt()
            except InvalidPayload as refusal:
                refusals.append(str(refusal))
        return Success.with_result(1)

    (id,) = await enqueue(store, clumsy.with_metadata(1).with_execution_metadata(0.5))
    async with open_executor(store, [clumsy], config=quick()):
        record = await until_state(store, id, TaskState.COMPLETED)
    assert len(refusals) == 3
    assert all("the execution metadata of 'clumsy' cannot be stored" in each for each in refusals)
    assert (record.execution_metadata, record.sequence) == (0.5, 0)


@pytest.mark.parametrize("way", ["commit", "commit_after", "commit_with"])
async def test_a_run_whose_claim_was_taken_over_writes_nothing_and_learns_it_at_its_commit(
    shared_store: Store, way: str
) -> None:
    started, taken_over = trio.Event(), trio.Event()
    seen: list[str] = []

    @task
    async def slow(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        async def effect() -> Result[int, str]:
            return Done(1)

        with trio.CancelScope(shield=True):
            started.set()
            await taken_over.wait()
            try:
                if way == "commit":
                    await execution.commit(5)
                elif way == "commit_after":
                    await execution.commit_after(effect, 5)
                else:
                    await execution.commit_with(lambda _: Done(1), 5)
            except ClaimLost:
                seen.append("claim lost")
            if execution.stopping is not None:
                seen.append(execution.stopping.kind.value)
            try:
                await execution.commit(6)
            except ClaimLost:
                seen.append("still lost")
        return Success.with_result(1)

    (id,) = await enqueue(shared_store, slow.with_metadata(1))
    recorder = Recorder()
    async with (
        open_store(shared_store.url) as other,
        open_executor(shared_store, [slow], config=quick(), observer=recorder) as executor,
    ):
        await started.wait()
        await other.transact(lambda session: announce(session, "somebody else"))
        await change(other, id, events.Claimed("somebody else", "a new token"))
        taken_over.set()
        await until(lambda: executor.statistics().running == 0)
        after = await record_of(other, id)
        assert (after.executor, after.execution_metadata, after.sequence) == ("somebody else", 0, 0)
        statistics = executor.statistics()
    assert seen == ["claim lost", "claim lost", "still lost"]
    assert (statistics.discarded, statistics.refused, statistics.ended) == (1, 1, 0)
    assert recorder.ended(id) == []
    record = await record_of(shared_store, id)
    assert (record.state, record.failures, record.crash) == (TaskState.RUNNING, 0, None)


async def test_a_commit_after_the_run_has_ended_is_refused_and_harms_nobody(store: Store) -> None:
    kept: list[Execution[int]] = []
    finish = trio.Event()

    @task
    async def leaky(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        kept.append(execution)
        return Success.with_result(1)

    @task
    async def neighbour(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        await finish.wait()
        await execution.commit(4)
        return Success.with_result(1)

    leaked, other = await enqueue(store, leaky.with_metadata(1), neighbour.with_metadata(1))
    async with open_executor(store, [leaky, neighbour], config=quick()):
        before = await until_state(store, leaked, TaskState.COMPLETED)
        finish.set()
        with pytest.raises(ClaimLost, match="has ended"):
            await kept[0].commit(9)
        assert await Client(store).wait(other) == Success.with_result(1)
    assert await record_of(store, leaked) == before


async def test_a_commit_and_the_end_of_its_run_in_one_turn_are_both_written_and_not_taken_for_each_other(
    store: Store,
) -> None:
    @task
    def any_task(metadata: int, progress: int) -> TaskResult[int, str]:
        return Success.with_result(1)

    commit, end = events.Committed(JsonText("3")), events.Succeeded(JsonText("1"))
    orders: list[list[Event]] = [[commit, end], [end, commit]]
    for handed_in in orders:
        (id,) = await enqueue(store, any_task.with_metadata(1))
        known = await change(store, id, events.Claimed("somebody", "a token"))

        def carry(
            session: Session, known: TaskRecord = known, handed_in: list[Event] = handed_in
        ) -> list[TaskRecord | None]:
            deliveries = [Delivery(known, event, Policy()) for event in handed_in]
            first = deliver(session, deliveries, now=session.now())
            again = deliver(session, deliveries[-1:], now=session.now())  # as if the reply had been lost
            assert again == first[-1:]
            return first

        written = await store.transact(carry)
        record = await record_of(store, id)
        assert record.state is TaskState.COMPLETED
        assert record.execution_metadata == (3 if handed_in[0] is commit else 0)
        assert [each is not None for each in written] == [True, handed_in[0] is commit]


async def test_a_cancelled_wait_for_a_commit_leaves_either_the_commit_or_nothing(store: Store) -> None:
    seen: list[tuple[int, int]] = []

    @task
    async def impatient(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        for number in range(1, 30):
            with trio.move_on_after(0.0003 * (number % 4)) as scope:
                await execution.commit(number)
            stored = int(str((await record_of(store, execution.id)).execution_metadata))
            seen.append((number if not scope.cancelled_caught else -1, stored))
        return Success.with_result(1)

    await run(store, [impatient], impatient.with_metadata(1))
    for committed, stored in seen:
        assert committed in (-1, stored)


async def test_a_late_commit_with_the_current_token_is_accepted_though_the_lease_ran_out(store: Store) -> None:
    started, gone = trio.Event(), trio.Event()

    @task
    async def slow(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        with trio.CancelScope(shield=True):
            started.set()
            await gone.wait()
            await execution.commit(5)
        return Success.with_result(1)

    (id,) = await enqueue(store, slow.with_metadata(1))
    async with abandoned_executor(store, [slow], config=quick()) as executor:
        await started.wait()
        await store.transact(lambda session: session.close_lease(executor.id))
        gone.set()
        await until_committed(store, id, 5)


async def until_committed(store: Store, id: Any, wanted: int) -> None:
    from tests.executor.kit import until_async

    async def committed() -> bool:
        return (await record_of(store, id)).execution_metadata == wanted

    await until_async(committed, "the commit")
