"""A family of tasks whose executor is killed right before and right after each of its commits ends as if it was not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from milepost import (
    ALL_FINISHED,
    Client,
    Crash,
    Empty,
    Execution,
    Failure,
    Outcome,
    Retry,
    Store,
    Success,
    Suspended,
    TaskRequest,
    TaskResult,
    group,
    task,
)
from milepost.stores.filter import TaskFilter
from tests.executor.cuts import Cut, Side, family, run_cut
from tests.executor.kit import AnyTask

pytestmark = pytest.mark.anyio


@task
def mail(metadata: str, progress: Empty) -> TaskResult[str, str]:
    return Success.with_result(metadata)


def make_good(metadata: int, progress: int, outcome: Outcome[int, str]) -> Sequence[TaskRequest]:
    match outcome:
        case Success():
            return []
        case _:
            return [mail.with_metadata(f"sorry for {metadata}")]


@task(on_outcome=make_good, retry=Retry.never())
def reserve(metadata: int, progress: int) -> TaskResult[int, str]:
    if metadata == 3:
        return Failure.with_error("sold out").then_enqueue(mail.with_metadata("sold out"))
    if metadata == 4:
        raise ValueError("broken")
    return Success.with_result(metadata).then_enqueue(mail.with_metadata(f"reserved {metadata}"))


@task
async def nested(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str, int]:
    if metadata == 0:
        return Success.with_result(1)
    if progress == 0:
        return Suspended(1).then_enqueue(*[nested.with_metadata(metadata - 1)] * 2).until_finished()
    return Success.with_result(sum(each.value_or(0) for each in answers(execution.children.of(nested))))


@task
async def add(metadata: Empty, progress: Empty, execution: Execution[Empty]) -> TaskResult[int, str]:
    return Success.with_result(sum(each.value_or(0) for each in answers(execution.children.of(reserve))))


@task
async def order(metadata: str, progress: int, execution: Execution[int]) -> TaskResult[int, str, int]:
    if progress == 0:
        reserved = group(
            [reserve.with_metadata(n) for n in (1, 2, 3, 4)], then=add.with_metadata(Empty()), on=ALL_FINISHED
        )
        return Suspended(1).then_enqueue(reserved, nested.with_metadata(2)).until_finished()
    if progress == 1:
        (added,) = answers(execution.children.of(add))
        (counted,) = answers(execution.children.of(nested))
        total = added.value_or(0) + counted.value_or(0)
        return Suspended(total).then_enqueue(mail.with_metadata(f"total {total}")).until_finished(fail_fast=True)
    return Success.with_result(progress).then_enqueue(mail.with_metadata("done"))


def answers(outcomes: Sequence[Outcome[int, str]]) -> list[Any]:
    return [outcome for outcome in outcomes if not isinstance(outcome, Crash)]


TASKS: list[AnyTask] = [order, nested, reserve, add, mail]


@pytest.mark.slow
async def test_a_kill_before_or_after_any_commit_changes_nothing_of_what_becomes_of_a_family(store: Store) -> None:
    client = Client(store)
    await client.enqueue(order.with_metadata("uncut"))
    commits = run_cut(store, TASKS, None)
    uncut = family(store)
    assert ('"uncut"', "order", "completed", "7", "None", "1") in uncut
    assert sum(name == "mail" and state == "completed" for _, name, state, *_ in uncut) == 7
    await _forget_all(store)
    for number in range(commits):
        for side in Side:
            await client.enqueue(order.with_metadata("uncut"))
            run_cut(store, TASKS, Cut(number, side))
            assert family(store) == uncut, (number, side)
            await _forget_all(store)


async def _forget_all(store: Store) -> None:
    def forget(session: Any) -> None:
        session.delete([record.id for record in session.search(TaskFilter(), limit=10_000)])

    await store.transact(forget)
