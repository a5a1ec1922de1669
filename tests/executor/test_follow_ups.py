"""What a result carries: follow-ups and joins from the answer to the next run, on every store."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
import trio
from attrs import frozen

from milepost import (
    ALL_FINISHED,
    KEEP,
    REPLACE,
    Audit,
    BlockingExecution,
    Cancellation,
    Client,
    Crash,
    CrashKind,
    Empty,
    Execution,
    Failure,
    HistoryKind,
    Outcome,
    PayloadRefused,
    Retry,
    Statement,
    Store,
    Success,
    Suspended,
    TaskId,
    TaskQuery,
    TaskRecord,
    TaskResult,
    TaskState,
    group,
    open_executor,
    task,
)
from milepost.lifecycle import events
from milepost.stores.filter import TaskFilter
from milepost.testing import drain
from tests.executor.kit import (
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
    until_state,
)

pytestmark = pytest.mark.anyio


@frozen
class Sum:
    total: int


@task
def double(metadata: int, progress: Empty) -> TaskResult[int, str]:
    return Success.with_result(2 * metadata)


@task(retry=Retry.never())
def refuse(metadata: int, progress: Empty) -> TaskResult[int, str]:
    return Failure.with_error(f"not {metadata}")


@task(retry=Retry.never())
def crash(metadata: int, progress: Empty) -> TaskResult[int, str]:
    raise ValueError(f"never {metadata}")


async def children_of(store: Store, *parents: TaskId) -> list[TaskRecord]:
    """What these tasks have enqueued, in the order of their places."""
    found = await store.read(lambda session: session.search(TaskFilter(parents=parents), limit=1000))
    return sorted(found, key=lambda record: [int(part) for part in (record.parent_position or "").split(".")])


async def test_what_a_result_enqueues_is_there_with_it_and_runs(store: Store) -> None:
    @task
    def order(metadata: int, progress: Empty) -> TaskResult[int, str]:
        after = (double.with_metadata(n) for n in range(metadata))
        return Success.with_result(metadata).then_enqueue(*after)

    (id,) = await enqueue(store, order.with_metadata(3).with_correlation("order-42").with_audit(Audit.FULL))
    await drain(store, [order, double])
    assert (await record_of(store, id)).state is TaskState.COMPLETED
    children = await children_of(store, id)
    assert [child.result for child in children] == [0, 2, 4]
    assert [child.parent_position for child in children] == ["1.1.0", "1.1.1", "1.1.2"]
    assert {child.correlation for child in children} == {"order-42"}
    assert {child.audit for child in children} == {Audit.FULL}


async def test_what_a_follow_up_asks_for_itself_goes_before_what_it_would_inherit(store: Store) -> None:
    @task
    def order(metadata: int, progress: Empty) -> TaskResult[int, str]:
        own = double.with_metadata(1).with_correlation("mine").with_audit(Audit.NONE).with_priority(7).in_queue("bulk")
        return Success.with_result(1).then_enqueue(own)

    (id,) = await enqueue(store, order.with_metadata(3).with_correlation("order-42"))
    await drain(store, [order, double])
    (child,) = await children_of(store, id)
    assert (child.correlation, child.audit, child.priority, child.queue) == ("mine", Audit.NONE, 7, "bulk")


@pytest.mark.parametrize("answer", ["failure", "cancellation", "suspension"])
async def test_each_kind_of_result_can_carry_follow_ups(store: Store, answer: str) -> None:
    @task
    def order(metadata: int, progress: int) -> TaskResult[int, str]:
        after = double.with_metadata(1)
        match answer:
            case "failure":
                return Failure.with_error("sold out").then_enqueue(after)
            case "cancellation":
                return Cancellation.with_error("not wanted").then_enqueue(after)
            case _:
                return Suspended().then_enqueue(after)

    (id,) = await enqueue(store, order.with_metadata(1))
    await drain(store, [order, double])
    (child,) = await children_of(store, id)
    assert child.result == 2
    (await Client(store).cancel(id)).value_or(None)


async def test_a_task_that_suspends_at_one_place_again_and_again_enqueues_something_each_time(store: Store) -> None:
    @task
    def poll(metadata: int, progress: int) -> TaskResult[int, str, int]:
        after = double.with_metadata(progress)
        if progress < 3:
            return Suspended(progress + 1).at_once().then_enqueue(after)
        return Success.with_result(progress)

    (id,) = await enqueue(store, poll.with_metadata(1))
    await drain(store, [poll, double])
    assert [child.result for child in await children_of(store, id)] == [0, 2, 4]


async def test_a_failure_that_is_tried_again_carries_nothing_out_but_the_last_one_does(sql_store: Store) -> None:
    await sql(sql_store, "create table told (attempt integer)")
    insert = "insert into told values (%s)" if sql_store.url.startswith("postgres") else "insert into told values (?)"

    @task(retry=Retry.fixed(2, timedelta(0)).when(lambda error: True))
    async def order(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        failed = Failure.with_error("sold out").then_enqueue(double.with_metadata(execution.attempt))
        return failed.with_effects(Statement(insert, (execution.attempt,)))

    (id,) = await enqueue(sql_store, order.with_metadata(1))
    await drain(sql_store, [order, double])
    assert (await record_of(sql_store, id)).failures == 2
    assert [child.result for child in await children_of(sql_store, id)] == [6]
    assert await sql(sql_store, "select attempt from told") == [(3,)]


async def test_a_suspension_under_a_cancel_carries_nothing_out_and_a_success_does(store: Store) -> None:
    starts: list[int] = []

    @task
    async def order(metadata: int, progress: int) -> TaskResult[int, str, int]:
        starts.append(metadata)
        try:
            await trio.sleep_forever()
        finally:
            after = double.with_metadata(metadata)
            if metadata == 1:
                return Suspended(1).then_enqueue(after).until_finished()  # noqa: B012 (cleans up, and then answers)
            return Success.with_result(metadata).then_enqueue(after)  # noqa: B012

    suspending, succeeding = await enqueue(store, order.with_metadata(1), order.with_metadata(2))
    async with open_executor(store, [order, double], config=quick()):
        await until(lambda: len(starts) == 2)
        for id in (suspending, succeeding):
            (await Client(store).cancel(id, reason="enough")).unwrap()
        await until_state(store, suspending, TaskState.CANCELLED)
        await until_state(store, succeeding, TaskState.COMPLETED)
    assert await children_of(store, suspending) == []
    record = (await Client(store).get(suspending)).unwrap()
    assert record.execution_metadata_json == "0"  # what would tell a requeue, or an on_outcome, of children is not kept
    assert len(await children_of(store, succeeding)) == 1


async def test_what_cannot_be_enqueued_is_a_crash_that_names_it_and_nothing_of_the_result_is_stored(
    store: Store,
) -> None:
    @frozen
    class NeedsStart:
        row: int

    @task
    def picky(metadata: int, progress: NeedsStart) -> TaskResult[int, str]:
        return Success.with_result(1)

    @task(retry=Retry.never())
    def order(metadata: str, progress: int) -> TaskResult[int, str]:
        good = Success.with_result(1).then_enqueue(double.with_metadata(1))
        match metadata:
            case "not storable":
                return good.then_enqueue(double.with_metadata("two"))  # type: ignore[arg-type]
            case "no start":
                return good.then_enqueue(picky.with_metadata(1))
            case _:
                return good.then_enqueue(_Impostor())

    expected = {
        "not storable": r"the follow-up 1 \(double\) that 'order' returned cannot be stored: metadata \$",
        "no start": r"'picky' cannot start without execution metadata",
        "no request": r"the follow-up 1 that 'order' returned is none: give what task.with_metadata",
    }
    outcomes = await run(store, [order, double], *(order.with_metadata(each) for each in expected))
    for outcome, text in zip(outcomes, expected.values(), strict=True):
        assert isinstance(outcome, Crash)
        assert outcome.kind is CrashKind.EXCEPTION
        assert re.search(text, outcome.message), outcome.message
    assert await Client(store).count(TaskQuery().with_name("double")) == 0


class _Impostor:
    rejects_conflict = False


async def test_a_join_goes_on_once_its_last_child_has_ended_with_all_their_outcomes_typed(store: Store) -> None:
    @task
    async def total(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[Sum, str, int]:
        if progress == 0:
            requests = [double.with_metadata(n) for n in range(metadata)]
            return (
                Suspended(1).then_enqueue(*requests, refuse.with_metadata(1), crash.with_metadata(2)).until_finished()
            )
        assert len(execution.children) == metadata + 2
        assert execution.children.of(refuse) == [Failure("not 1")]
        (crashed,) = execution.children.of(crash)
        assert isinstance(crashed, Crash)
        assert "never 2" in crashed.message
        return Success(Sum(sum(outcome.value_or(0) for outcome in _answers(execution.children.of(double)))))

    (id,) = await enqueue(store, total.with_metadata(4))
    await drain(store, [total, double, refuse, crash])
    record = await record_of(store, id)
    assert record.result == {"total": 12}, record
    assert [kind for kind in await kinds_of(store, id) if kind is not HistoryKind.CLAIMED] == [
        HistoryKind.ENQUEUED,
        HistoryKind.SUSPENDED,
        HistoryKind.WOKEN,
        HistoryKind.COMPLETED,
    ]


def _answers(outcomes: list[Outcome[int, str]]) -> list[Success[int, str]]:
    return [outcome for outcome in outcomes if isinstance(outcome, Success)]


async def test_a_join_of_nobody_goes_on_at_once_with_no_children(store: Store) -> None:
    @task
    async def total(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str, int]:
        return Suspended(1).until_finished() if progress == 0 else Success.with_result(len(execution.children))

    assert await run(store, [total], total.with_metadata(1)) == [Success.with_result(0)]


async def test_joins_nest(store: Store) -> None:
    @task
    async def tree(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str, int]:
        if metadata == 0:
            return Success.with_result(1)
        if progress == 0:
            return Suspended(1).then_enqueue(*[tree.with_metadata(metadata - 1)] * 2).until_finished()
        return Success.with_result(sum(each.result for each in _answers(execution.children.of(tree))))

    assert await run(store, [tree], tree.with_metadata(4)) == [Success.with_result(16)]


async def test_a_task_can_join_several_times_and_sees_the_children_of_its_last_join_only(store: Store) -> None:
    seen: list[list[Any]] = []

    @task
    async def rounds(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str, int]:
        seen.append([outcome.value_or(None) for outcome in _answers(execution.children.of(double))])
        if progress < 2:
            return Suspended(progress + 1).then_enqueue(double.with_metadata(progress)).until_finished()
        if progress == 2:
            return Suspended(3).at_once()
        return Success.with_result(progress)

    (id,) = await enqueue(store, rounds.with_metadata(1))
    await drain(store, [rounds, double])
    assert (await record_of(store, id)).result == 3
    assert seen == [[], [0], [2], []]


async def test_a_blocking_task_reads_its_children_like_any_other(store: Store) -> None:
    @task(blocking=True)
    def total(metadata: int, progress: int, execution: BlockingExecution[int]) -> TaskResult[int, str, int]:
        if progress == 0:
            return Suspended(1).then_enqueue(double.with_metadata(metadata)).until_finished()
        return Success.with_result(sum(each.result for each in _answers(execution.children.of(double))))

    assert await run(store, [total, double], total.with_metadata(4)) == [Success.with_result(8)]


async def test_with_fail_fast_the_first_failure_has_the_others_cancelled(store: Store) -> None:
    @task(retry=Retry.never())
    async def total(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str, int]:
        if progress == 0:
            later = double.with_metadata(1).after(timedelta(days=1))
            return Suspended(1).then_enqueue(later, refuse.with_metadata(1), later).until_finished(fail_fast=True)
        assert execution.children.of(refuse) == [Failure("not 1")]
        cancelled = [each for each in execution.children.of(double) if isinstance(each, Crash)]
        return Success.with_result(sum(each.kind is CrashKind.CANCELLED for each in cancelled))

    assert await run(store, [total, double, refuse], total.with_metadata(1)) == [Success.with_result(2)]


async def test_what_became_of_children_does_not_change_after_a_requeue_or_a_deletion(store: Store) -> None:
    seen: list[list[Outcome[int, str]]] = []
    wanted = trio.Event()

    @task
    async def total(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str, int]:
        if progress == 0:
            return Suspended(1).then_enqueue(double.with_metadata(1), refuse.with_metadata(2)).until_finished()
        seen.append([*execution.children.of(double), *execution.children.of(refuse)])
        if not wanted.is_set():
            await trio.sleep_forever()
        return Success.with_result(1)

    client = Client(store)
    (id,) = await enqueue(store, total.with_metadata(1))
    async with abandoned_executor(store, [total, double, refuse], config=quick()):
        await until(lambda: len(seen) == 1)
        first, second = await children_of(store, id)
        (await client.requeue(second.id)).unwrap()
        await until_state(store, second.id, TaskState.FAILED)
        (await client.delete(first.id)).unwrap()
    wanted.set()
    await drain(store, [total])
    assert (await record_of(store, id)).state is TaskState.COMPLETED
    assert seen == [[Success(2), Failure("not 2")]] * 2


async def test_a_proceed_is_refused_while_a_task_waits_for_its_children_and_a_cancel_is_not(store: Store) -> None:
    @task
    def total(metadata: int, progress: int) -> TaskResult[int, str, int]:
        return Suspended(1).then_enqueue(double.with_metadata(1).after(timedelta(days=1))).until_finished()

    client = Client(store)
    (id,) = await enqueue(store, total.with_metadata(1))
    await drain(store, [total, double])
    assert (await client.proceed(id)).failure() is not None
    assert (await record_of(store, id)).state is TaskState.SUSPENDED
    (await client.cancel(id)).unwrap()
    (child,) = await children_of(store, id)
    assert child.state is TaskState.PENDING


async def test_a_group_is_one_child_and_its_continuation_reads_the_outcomes_of_its_members(store: Store) -> None:
    @task
    async def add(metadata: Empty, progress: Empty, execution: Execution[Empty]) -> TaskResult[int, str]:
        return Success.with_result(sum(each.result for each in _answers(execution.children.of(double))))

    @task
    async def total(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str, int]:
        if progress == 0:
            doubled = group([double.with_metadata(n) for n in range(metadata)], then=add.with_metadata(Empty()))
            bare = group([double.with_metadata(1), refuse.with_metadata(1)], on=ALL_FINISHED)
            return Suspended(1).then_enqueue(doubled, bare).until_finished()
        (added,) = execution.children.of(add)
        assert list(execution.children.values()) == [added, Success({"completed": 1, "failed": 1, "cancelled": 0})]
        return Success.with_result(added.value_or(0) if isinstance(added, Success) else 0)

    assert await run(store, [total, add, double, refuse], total.with_metadata(4)) == [Success.with_result(12)]


async def test_a_follow_up_whose_key_a_live_task_holds_is_joined_in_its_place(store: Store) -> None:
    @task
    async def total(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str, int]:
        if progress == 0:
            return Suspended(1).then_enqueue(double.with_metadata(5).with_key("one", KEEP)).until_finished()
        return Success.with_result(sum(each.result for each in _answers(execution.children.of(double))))

    holder, first, second = await enqueue(
        store,
        double.with_metadata(1).with_key("one").in_queue("later"),
        total.with_metadata(1),
        total.with_metadata(2),
    )
    await drain(store, [total])
    for id in (first, second):
        assert (await record_of(store, id)).state is TaskState.SUSPENDED
        assert await children_of(store, id) == []
    await drain(store, [total, double])
    assert [(await record_of(store, id)).result for id in (holder, first, second)] == [2, 2, 2]


async def test_a_follow_up_replaces_a_waiting_holder_and_a_running_one_makes_it_a_crash(store: Store) -> None:
    running = trio.Event()
    let_go = trio.Event()

    @task
    async def hold(metadata: int, progress: Empty) -> TaskResult[int, str]:
        if metadata == 0:
            running.set()
            await let_go.wait()
        return Success.with_result(metadata)

    @task(retry=Retry.never())
    def order(metadata: str, progress: int) -> TaskResult[int, str]:
        replacing = hold.with_metadata(1).with_key(metadata, REPLACE)
        return Success.with_result(1).then_enqueue(double.with_metadata(1), replacing)

    running_one, waiting_one = await enqueue(
        store,
        hold.with_metadata(0).with_key("running"),
        hold.with_metadata(2).with_key("waiting").after(timedelta(days=1)),
    )
    client = Client(store)
    async with open_executor(store, [hold, order, double], config=quick()):
        await running.wait()
        refused, done = await client.enqueue_all([order.with_metadata("running"), order.with_metadata("waiting")])
        outcome = await refused.wait(10)
        assert isinstance(outcome, Crash)
        assert outcome.type_name == "milepost.errors.FollowUpRefused"
        assert running_one in outcome.message
        assert await done.wait(10) == Success.with_result(1)
        let_go.set()
    assert await children_of(store, refused.id) == []
    assert [child.name for child in await children_of(store, done.id)] == ["double", "hold"]
    assert (await record_of(store, waiting_one)).state is TaskState.CANCELLED


async def test_a_refused_follow_up_disturbs_none_that_are_handed_in_with_it(store: Store) -> None:
    running = trio.Event()
    let_go = trio.Event()

    @task
    async def hold(metadata: int, progress: Empty) -> TaskResult[int, str]:
        running.set()
        await let_go.wait()
        return Success.with_result(metadata)

    @task(retry=Retry.never())
    def order(metadata: int, progress: int) -> TaskResult[int, str]:
        if metadata % 2:
            return Success.with_result(metadata).then_enqueue(double.with_metadata(1))
        return Success.with_result(1).then_enqueue(hold.with_metadata(1).with_key("one", REPLACE))

    await enqueue(store, hold.with_metadata(1).with_key("one"))
    client = Client(store)
    async with open_executor(store, [hold, order, double], config=quick()):
        await running.wait()
        handles = await client.enqueue_all([order.with_metadata(n) for n in range(10)])
        outcomes = [await handle.wait(10) for handle in handles]
        let_go.set()
    assert [isinstance(outcome, Crash) for outcome in outcomes] == [True, False] * 5
    assert await client.count(TaskQuery().with_name("double")) == 5


async def test_a_task_that_would_wait_for_itself_has_crashed(store: Store) -> None:
    @task(retry=Retry.never())
    def again(metadata: int, progress: int) -> TaskResult[int, str, int]:
        return Suspended(1).then_enqueue(again.with_metadata(1).with_key("one")).until_finished()

    (outcome,) = await run(store, [again], again.with_metadata(1).with_key("one"))
    assert isinstance(outcome, Crash)
    assert "it would wait for itself, which holds the key" in outcome.message


async def test_follow_ups_are_let_into_a_full_queue_because_their_parents_place_was_taken_already(
    store: Store,
) -> None:
    @task(queue="narrow")
    def order(metadata: int, progress: int) -> TaskResult[int, str]:
        return Success.with_result(1).then_enqueue(*(double.with_metadata(n).in_queue("narrow") for n in range(3)))

    client = Client(store)
    await client.set_queue("narrow", capacity=1)
    (id,) = await enqueue(store, order.with_metadata(1))
    await drain(store, [order, double])
    assert [child.result for child in await children_of(store, id)] == [0, 2, 4]


async def test_a_run_that_lost_its_claim_enqueues_nothing(store: Store) -> None:
    started, go_on = trio.Event(), trio.Event()

    @task
    async def order(metadata: int, progress: int) -> TaskResult[int, str]:
        started.set()
        await go_on.wait()
        return Success.with_result(1).then_enqueue(double.with_metadata(1))

    (id,) = await enqueue(store, order.with_metadata(1))
    async with open_executor(store, [order], config=quick()) as executor:
        await started.wait()
        await store.transact(lambda session: announce(session, "another"))  # else it would be taken over at once
        await change(store, id, events.Claimed("another", "token"))
        go_on.set()
        await until(lambda: executor.statistics().discarded == 1)
    assert await children_of(store, id) == []


def test_a_payload_that_is_refused_is_a_value() -> None:
    assert isinstance(group([double.with_metadata("x")]).drafts(), PayloadRefused)  # type: ignore[arg-type]
