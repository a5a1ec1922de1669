"""`run_to_end`: a task run to its end by calls alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from milepost import (
    ALL_SUCCEEDED,
    Cancellation,
    Children,
    Crash,
    CrashKind,
    Empty,
    Execution,
    Failure,
    NamedEvent,
    Outcome,
    Retry,
    Success,
    Suspended,
    TaskDefinitionError,
    TaskRequest,
    TaskResult,
    group,
    task,
)
from milepost.testing import run_to_end

pytestmark = pytest.mark.anyio

WRONG: Any = "two"


@task
def double(metadata: int, progress: Empty) -> TaskResult[int, str]:
    return Success.with_result(2 * metadata)


@task(retry=Retry.never())
def refuse(metadata: int, progress: Empty) -> TaskResult[int, str]:
    return Failure.with_error(f"not {metadata}")


@task
def mail(metadata: str, progress: Empty) -> TaskResult[str, str]:
    return Success.with_result(metadata)


@task
async def add(metadata: Empty, progress: Empty, execution: Execution[Empty]) -> TaskResult[int, str]:
    return Success.with_result(sum(each.value_or(0) for each in answers(execution.children.of(double))))


def answers(outcomes: Sequence[Outcome[int, str]]) -> list[Success[int, str] | Failure[int, str]]:
    return [outcome for outcome in outcomes if isinstance(outcome, Success | Failure)]


async def test_it_follows_suspensions_from_commit_to_commit() -> None:
    @task
    async def count(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str, int]:
        if progress == metadata:
            return Success.with_result(progress)
        await execution.commit(progress + 1)
        return Suspended(progress + 2).after(timedelta(days=1))

    ended = await run_to_end(count, 4)
    assert ended.outcome == Success(4)
    assert ended.commits == (1, 3)
    assert [run.result.value_or(None) for run in ended.runs] == [None, None, 4]
    assert (await run_to_end(count, 4, 2)).commits == (3,)


async def test_it_retries_as_the_policy_says_and_keeps_what_a_crashed_run_has_committed() -> None:
    seen: list[tuple[int, int]] = []

    @task(retry=Retry.fixed(2, timedelta(hours=1)))
    async def flaky(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str, int]:
        seen.append((progress, execution.attempt))
        await execution.commit(progress + 1)
        if execution.attempt < metadata:
            raise ValueError("not yet")
        return Success.with_result(progress)

    assert (await run_to_end(flaky, 3)).outcome == Success(2)
    assert seen == [(0, 1), (1, 2), (2, 3)]
    crashed = (await run_to_end(flaky, 9)).outcome
    assert isinstance(crashed, Crash)
    assert (crashed.kind, crashed.message) == (CrashKind.EXCEPTION, "not yet")


async def test_it_gathers_follow_ups_of_results_that_were_taken_and_those_of_on_outcome() -> None:
    def tell(metadata: int, progress: int, outcome: Outcome[int, str], children: Children) -> Sequence[TaskRequest]:
        return [mail.with_metadata(f"{outcome}, {len(children)} children")]

    @task(on_outcome=tell, retry=Retry.fixed(1, timedelta(0)).when(lambda error: True))
    def sell(metadata: int, progress: int) -> TaskResult[int, str]:
        return Failure.with_error("sold out").then_enqueue(mail.with_metadata("sorry"))

    ended = await run_to_end(sell, 1)
    assert len(ended.runs) == 2
    assert ended.follow_ups == (
        mail.with_metadata("sorry"),
        mail.with_metadata("Failure(error='sold out'), 0 children"),
    )


async def test_it_runs_whom_the_task_waits_for_groups_and_their_continuations_included() -> None:
    @task
    async def total(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[str, str, int]:
        if progress == 0:
            fine = group([double.with_metadata(n) for n in range(3)], then=add.with_metadata(Empty()))
            vain = group([double.with_metadata(7), refuse.with_metadata(7)], then=mail.with_metadata("vain"))
            bare = group([group([double.with_metadata(1)]), refuse.with_metadata(1)], on=ALL_SUCCEEDED)
            return Suspended(1).then_enqueue(fine, vain, bare, mail.with_metadata("alone")).until_finished()
        added, cancelled, failed, mailed = execution.children.values()
        assert added == Success(6)
        assert isinstance(cancelled, Crash)
        assert cancelled.kind is CrashKind.CANCELLED
        assert failed == Failure({"cancelled": 0, "completed": 1, "failed": 1})
        assert mailed == Success("alone")
        return Success.with_result("all seen")

    ended = await run_to_end(total, 1)
    assert ended.outcome == Success("all seen"), ended.outcome
    assert ended.follow_ups == ()


async def test_with_fail_fast_those_after_the_first_failure_are_cancelled() -> None:
    @task
    async def total(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str, int]:
        if progress == 0:
            requests = [double.with_metadata(1), refuse.with_metadata(1), double.with_metadata(1)]
            return Suspended(1).then_enqueue(*requests).until_finished(fail_fast=True)
        first, last = execution.children.of(double)
        assert first == Success(2)
        assert isinstance(last, Crash)
        assert last.kind is CrashKind.CANCELLED
        return Cancellation.with_error("given up")

    assert (await run_to_end(total, 1)).outcome == Cancellation("given up")


async def test_a_suspension_without_an_end_takes_the_next_proceed_and_says_so_where_there_is_none() -> None:
    @task
    def approve(metadata: int, approved: bool) -> TaskResult[int, str, bool]:
        return Success.with_result(1) if approved else Suspended()

    assert (await run_to_end(approve, 1, False, proceed=[lambda x: x, lambda x: not x])).outcome == Success(1)
    with pytest.raises(
        TaskDefinitionError, match=r"'approve' is suspended until somebody proceeds it: give run_to_end"
    ):
        await run_to_end(approve, 1, False)


async def test_a_task_that_never_ends_is_told() -> None:
    @task
    def spin(metadata: int, progress: int) -> TaskResult[int, str, int]:
        return Suspended(progress + 1).at_once()

    with pytest.raises(TaskDefinitionError, match="'spin' has not ended after 1000 runs"):
        await run_to_end(spin, 1)


async def test_one_that_spins_without_progress_is_quarantined_as_it_would_be() -> None:
    @task
    def spin(metadata: int, progress: int) -> TaskResult[int, str, int]:
        return Suspended().at_once()

    stalled = (await run_to_end(spin, 1)).outcome
    assert isinstance(stalled, Crash)
    assert stalled.kind is CrashKind.STALLED


async def test_what_could_not_be_stored_is_told_at_once() -> None:
    with pytest.raises(TaskDefinitionError, match=r"'double' cannot store its request: metadata \$"):
        await run_to_end(double, WRONG)


async def test_a_wait_for_an_event_takes_what_was_given_for_it_or_ends_in_vain() -> None:
    paid = NamedEvent("paid", int)

    @task
    async def sell(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str, int]:
        if progress == 0:
            within = timedelta(days=1) if metadata else None
            return Suspended(1).until_event(paid, "order-1", within=within)
        return Success.with_result(execution.received(paid) or 0)

    assert (await run_to_end(sell, 1, received=[("shipped", 3), (paid, 7)])).outcome == Success(7)
    assert (await run_to_end(sell, 1)).outcome == Success(0)
    with pytest.raises(TaskDefinitionError, match=r"'sell' waits for the event 'paid': give run_to_end\(..., received"):
        await run_to_end(sell, 0)


async def test_what_children_would_enqueue_is_gathered_too() -> None:
    @task
    def sell(metadata: int, progress: int) -> TaskResult[int, str]:
        return Success.with_result(metadata).then_enqueue(mail.with_metadata("sold"))

    @task
    def order(metadata: int, progress: int) -> TaskResult[int, str, int]:
        if progress == 0:
            return Suspended(1).then_enqueue(sell.with_metadata(1)).until_finished()
        return Success.with_result(1).then_enqueue(mail.with_metadata("done"))

    ended = await run_to_end(order, 1)
    assert ended.follow_ups == (mail.with_metadata("sold"), mail.with_metadata("done"))
