"""A recorded execution takes the place of a real one, and tells what a task did with it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import frozen
from returns.result import Failure as Refused
from returns.result import Result
from returns.result import Success as Done

from milepost import (
    BlockingExecution,
    Execution,
    Statement,
    StopKind,
    Stopping,
    Success,
    Suspended,
    TaskId,
    TaskResult,
    Transaction,
    task,
)
from milepost.testing import RecordedExecution, RecordedTransaction, recorded_execution


@frozen
class Progress:
    page: int = 0


@task
async def walk(metadata: int, progress: Progress, execution: Execution[Progress]) -> TaskResult[int, str]:
    for page in range(progress.page, metadata):
        if execution.stopping is not None:
            return Suspended()
        execution.report(page / metadata, f"page {page}")
        await execution.commit(Progress(page + 1))
    return Success.with_result(metadata)


@task(blocking=True)
def walk_in_a_thread(metadata: int, progress: Progress, execution: BlockingExecution[Progress]) -> TaskResult[int, str]:
    for page in range(progress.page, metadata):
        if execution.stopping is not None:
            return Suspended()
        execution.report(page / metadata, f"page {page}")
        execution.commit(Progress(page + 1))
    return Success.with_result(metadata)


async def test_commits_and_reports_are_kept_in_order() -> None:
    execution = recorded_execution(Progress(1))
    assert await walk(3, execution.start, execution) == Success.with_result(3)
    assert execution.commits == [Progress(2), Progress(3)]
    assert execution.reports == [(1 / 3, "page 1"), (2 / 3, "page 2")]


def test_the_blocking_twin_writes_into_the_same_recording() -> None:
    execution = recorded_execution(Progress(1))
    assert walk_in_a_thread(3, execution.start, execution.blocking) == Success.with_result(3)
    assert execution.commits == [Progress(2), Progress(3)]
    assert execution.reports == [(1 / 3, "page 1"), (2 / 3, "page 2")]


async def test_a_task_that_is_asked_to_stop_can_be_seen_to_stop() -> None:
    execution = recorded_execution(Progress())
    execution.stopping = Stopping(StopKind.CANCELLED, "enough")
    assert await walk(3, Progress(), execution) == Suspended()
    assert walk_in_a_thread(3, Progress(), execution.blocking) == Suspended()
    assert execution.commits == []
    assert await execution.wait_stopping() == execution.blocking.wait_stopping() == execution.stopping


async def test_waiting_to_be_stopped_never_hangs_a_test() -> None:
    execution = recorded_execution(Progress())
    assert await execution.wait_stopping() == execution.blocking.wait_stopping() == Stopping(StopKind.SHUTDOWN)


async def test_the_execution_knows_who_it_is() -> None:
    execution = RecordedExecution(Progress(), id=TaskId("t"), attempt=3, key="k")
    twin = execution.blocking
    assert (execution.id, execution.attempt, execution.key) == (twin.id, twin.attempt, twin.key) == ("t", 3, "k")
    assert execution.log.extra == twin.log.extra == {"task_id": "t", "attempt": 3}
    assert execution.log.logger.name == "milepost.task"


def test_a_recording_has_the_instant_of_a_schedule_where_it_is_given_one() -> None:
    instant = datetime(2030, 1, 1, tzinfo=UTC)
    execution = recorded_execution(Progress(), scheduled_at=instant)
    assert execution.scheduled_at == execution.blocking.scheduled_at == instant
    assert recorded_execution(Progress()).scheduled_at is None


async def test_the_idempotency_key_is_new_after_each_commit() -> None:
    execution = recorded_execution(Progress())
    first = execution.idempotency_key
    assert execution.idempotency_key == execution.blocking.idempotency_key == first
    await execution.commit(Progress(1))
    second = execution.idempotency_key
    execution.blocking.commit(Progress(2))
    assert len({first, second, execution.blocking.idempotency_key}) == 3


async def test_a_commit_follows_an_effect_that_succeeded_and_no_other() -> None:
    execution = recorded_execution(Progress())

    async def effect() -> Result[int, str]:
        return Done(7)

    async def failing() -> Result[int, str]:
        return Refused("no")

    assert await execution.commit_after(effect, Progress) == Done(7)
    assert await execution.commit_after(effect, Progress(8)) == Done(7)
    assert await execution.commit_after(failing, Progress(9)) == Refused("no")
    assert execution.commits == [Progress(7), Progress(8)]


def test_a_commit_follows_an_effect_that_blocks() -> None:
    execution = recorded_execution(Progress())
    twin = execution.blocking
    assert twin.commit_after(lambda: Done(7), Progress) == Done(7)
    assert twin.commit_after(lambda: Refused("no"), Progress(9)) == Refused("no")
    assert execution.commits == [Progress(7)]


def insert(transaction: Transaction) -> Result[int, str]:
    ((number,),) = transaction.execute("insert into page values (?) returning n", (1,))
    return Done(number)


def insert_and_fail(transaction: Transaction) -> Result[int, str]:
    transaction.execute("insert into page values (?)", (2,))
    return Refused("no")


def insert_and_raise(transaction: Transaction) -> Result[int, str]:
    transaction.execute("insert into page values (?)", (3,))
    raise OSError("disk")


@pytest.mark.parametrize("blocking", [False, True])
async def test_statements_count_only_with_the_commit_that_they_belong_to(blocking: bool) -> None:
    transaction = RecordedTransaction(rows=[(7,)])
    execution = RecordedExecution(Progress(), transaction=transaction)

    async def commit(effect: Any, next: Any) -> Any:
        if blocking:
            return execution.blocking.commit_with(effect, next)
        return await execution.commit_with(effect, next)

    assert await commit(insert, Progress) == Done(7)
    assert await commit(insert_and_fail, Progress(8)) == Refused("no")
    with pytest.raises(OSError, match="disk"):
        await commit(insert_and_raise, Progress(9))
    with pytest.raises(ZeroDivisionError):
        await commit(insert, lambda number: number // 0)  # pyright: ignore
    assert execution.commits == [Progress(7)]
    assert transaction.statements == [Statement("insert into page values (?) returning n", (1,))]


async def test_a_transaction_of_ones_own_may_take_the_place_of_the_recorded_one() -> None:
    class Own:
        connection: Any = "connection"

        def execute(self, sql: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
            return [(sql, *parameters)]

    seen: list[object] = []

    def effect(transaction: Transaction) -> Result[int, str]:
        seen.append((transaction.connection, transaction.execute("select ?", (1,))))
        return Done(1)

    execution = RecordedExecution(Progress(), transaction=Own())
    await execution.commit_with(effect, Progress(1))
    assert seen == [("connection", [("select ?", 1)])]
    assert execution.commits == [Progress(1)]
