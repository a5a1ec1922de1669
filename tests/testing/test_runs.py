"""One run of a task as a value: what it returned, committed, reported, and would write."""

from __future__ import annotations

from typing import Any, cast

import pytest
from attrs import frozen
from returns.result import Result
from returns.result import Success as Done

from milepost import (
    BlockingExecution,
    Cancellation,
    Empty,
    Execution,
    Failure,
    Statement,
    Success,
    Suspended,
    TaskDefinitionError,
    TaskResult,
    Transaction,
    task,
)
from milepost.testing import run_once


@frozen
class Page:
    number: int = 0


NOTE = Statement("insert into note values (?)", ("done",))
WRONG: Any = "7"


@task
def pure(metadata: int, progress: Page) -> TaskResult[int, str]:
    return Success.with_result(metadata + progress.number).for_error(str)


@task
async def asynchronous(metadata: int, progress: Page) -> TaskResult[int, str]:
    return Success.with_result(metadata + progress.number).for_error(str)


def write(transaction: Transaction) -> Result[int, str]:
    transaction.execute("insert into page values (?)", (1,))
    return Done(5)


@task
async def committing(metadata: int, progress: Page, execution: Execution[Page]) -> TaskResult[int, str]:
    await execution.commit(Page(metadata))
    await execution.commit_with(write, Page)
    execution.report(0.5, "half")
    done = Success.with_result(metadata + progress.number).for_error(str)
    return done.with_effects(NOTE).then_enqueue(pure.with_metadata(1))


@task(blocking=True)
def blocking(metadata: int, progress: Page, execution: BlockingExecution[Page]) -> TaskResult[int, str]:
    execution.commit(Page(metadata))
    execution.commit_with(write, Page)
    execution.report(0.5, "half")
    done = Success.with_result(metadata + progress.number).for_error(str)
    return done.with_effects(NOTE).then_enqueue(pure.with_metadata(1))


@task(blocking=True)
def blocking_alone(metadata: int, progress: Page) -> TaskResult[int, str]:
    return Success.with_result(metadata + progress.number).for_error(str)


@task(cpu_bound=True)
def heavy(metadata: int, progress: Page) -> TaskResult[int, str]:
    return Success.with_result(metadata + progress.number).for_error(str)


@pytest.mark.parametrize("each", [pure, asynchronous, blocking_alone, heavy], ids=lambda each: each.name)
async def test_a_task_of_any_shape_runs_once(each: Any) -> None:
    run = await run_once(each, 7, Page(2))
    assert run.result == Success.with_result(9)
    assert (run.commits, run.reports, run.statements, run.effects, run.follow_ups) == ((), (), (), (), ())


@pytest.mark.parametrize("each", [committing, blocking], ids=lambda each: each.name)
async def test_everything_that_a_run_did_is_told(each: Any) -> None:
    run = await run_once(each, 7, Page(2))
    assert run.commits == (Page(7), Page(5))
    assert run.reports == ((0.5, "half"),)
    assert run.statements == (Statement("insert into page values (?)", (1,)),)
    assert run.effects == (NOTE,)
    assert run.follow_ups == (pure.with_metadata(1),)


async def test_what_the_function_raises_is_raised() -> None:
    @task
    async def raising(metadata: int, progress: Page) -> TaskResult[int, str]:
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match="nothing there"):
        await run_once(raising, 7, Page())


async def test_what_could_not_be_stored_fails_here_too() -> None:
    with pytest.raises(TaskDefinitionError) as raised:
        await run_once(pure, WRONG, Page())
    assert str(raised.value) == "'pure' cannot store '7' as its metadata: $: expected int, got str '7'"
    with pytest.raises(TaskDefinitionError, match=r"as its execution metadata: \$\.number: expected int"):
        await run_once(pure, 7, Page(WRONG))
    with pytest.raises(TaskDefinitionError, match=r"as its execution metadata: \$\.number: expected int"):
        await run_once(committing_wrongly, 7, Page())


@task
async def committing_wrongly(metadata: int, progress: Page, execution: Execution[Page]) -> TaskResult[int, str]:
    await execution.commit(Page(WRONG))
    return Success.with_result(1)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Success.with_result("7"), "'answering' cannot store '7' as its result: $: expected int, got str '7'"),
        (Failure.with_error(7), "'answering' cannot store 7 as its error: $: expected str, got int 7"),
        (
            Cancellation.with_error(None),
            "'answering' cannot store None as its error: $: expected str, got NoneType None",
        ),
        (Suspended(7), "'answering' cannot store 7 as its execution metadata: $: expected Page, got int 7"),
        (None, "'answering' returned None, which is none of Success, Suspended, Failure, Cancellation"),
        (Success, "'answering' returned "),
    ],
    ids=range(6),
)
async def test_an_answer_that_could_not_be_stored_fails_here_too(answer: object, said: str) -> None:
    @task
    def answering(metadata: int, progress: Page) -> TaskResult[int, str, Page]:
        return cast("TaskResult[int, str, Page]", answer)

    with pytest.raises(TaskDefinitionError) as raised:
        await run_once(answering, 7, Page())
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize(
    "answer",
    [Failure.with_error("no"), Cancellation.with_error("no"), Suspended(), Suspended(Page(1)), Success.with_result(1)],
    ids=range(5),
)
async def test_each_of_the_four_answers_is_given_as_it_is(answer: object) -> None:
    @task
    def answering(metadata: Empty, progress: Page) -> TaskResult[int, str, Page]:
        return cast("TaskResult[int, str, Page]", answer)

    assert (await run_once(answering, Empty(), Page())).result is answer
