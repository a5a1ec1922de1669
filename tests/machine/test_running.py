"""A machine called directly: which handlers run, what is committed, and what the run ends with."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from attrs import frozen

from milepost import (
    Cancellation,
    Empty,
    Execution,
    Failure,
    InvalidResult,
    Next,
    StateMachine,
    Statement,
    Success,
    Suspended,
    Task,
)
from milepost.testing import RecordedExecution, recorded_execution, run_once
from tests.machine.orders import AwaitingPayment, NotPaid, Order, Placed, Receipt, Shipped, State, order_task

pytestmark = pytest.mark.anyio


@frozen
class Red:
    n: int = 0


@frozen
class Green:
    n: int = 0


@frozen
class Elsewhere:
    pass


def lights(on_red: Callable[[int, Any], Any], on_green: Callable[[int, Any], Any], **options: Any) -> Any:
    """A machine of two states over handlers whose answers no checker has seen."""
    types = StateMachine.for_states(Red | Green).for_metadata(int).for_result(str).for_error(str)
    return types.with_handler(Red, on_red).with_handler(Green, on_green).build(name="lights", **options)


def green(metadata: int, green: Green) -> Success[str]:
    return Success.with_result(f"green {green.n}")


async def called(task: Any, state: object) -> tuple[object, list[object]]:
    """What the task returned, and what it committed."""
    execution = recorded_execution(state)
    return await task(7, state, execution), execution.commits


async def test_a_next_commits_its_state_and_goes_on_with_its_handler() -> None:
    paid = AwaitingPayment("op-7", paid=True)
    execution = RecordedExecution[State](paid)

    result = await order_task(Order(7), paid, execution)

    assert result == Success.with_result(Receipt("parcel-7"))
    assert execution.commits == [Shipped("parcel-7")]
    assert execution.reports == [(0.5, "op-7")]


async def test_a_result_ends_the_run_in_the_state_that_it_is_in() -> None:
    refused = await run_once(order_task, Order(7), AwaitingPayment("op-7", paid=False))
    waiting = await run_once(order_task, Order(7), AwaitingPayment("op-7"))

    assert (refused.result, refused.commits) == (Cancellation.with_error(NotPaid("op-7")), ())
    assert (waiting.result, waiting.commits) == (Suspended(), ())


async def test_a_suspension_in_another_state_is_one_write() -> None:
    run = await run_once(order_task, Order(7), Placed())

    assert run.result == Suspended(AwaitingPayment("op-7"))
    assert run.commits == ()


@pytest.mark.parametrize(
    "outcome", [Success.with_result("s"), Failure.with_error("f").final(), Cancellation.with_error("c")]
)
async def test_another_outcome_in_a_state_comes_after_the_commit_of_the_state(outcome: Any) -> None:
    task = lights(lambda m, red: Next.state(Green(m)).with_outcome(outcome), green)
    assert await called(task, Red()) == (outcome, [Green(7)])


async def test_an_outcome_in_a_state_keeps_all_that_it_carries() -> None:
    statement = Statement("delete from cart")
    carrying = Suspended().after(timedelta(hours=1)).with_effects(statement)
    task = lights(lambda m, red: Next.state(Green(m)).with_outcome(carrying), green)

    (result, commits) = await called(task, Red())

    assert result == Suspended(Green(7)).after(timedelta(hours=1)).with_effects(statement)
    assert commits == []


async def test_a_suspended_with_a_state_suspends_in_it() -> None:
    task = lights(lambda m, red: Suspended(Green(1)).at_once(), green)
    assert await called(task, Red()) == (Suspended(Green(1)).at_once(), [])


async def test_a_loop_is_legal_and_each_round_is_committed_once() -> None:
    task = lights(lambda m, red: Next.state(Red(red.n + 1) if red.n < 3 else Green(red.n)), green)
    assert await called(task, Red()) == (Success.with_result("green 3"), [Red(1), Red(2), Red(3), Green(3)])


async def test_an_equal_state_may_be_visited_twice() -> None:
    visits: list[object] = []

    def on_red(metadata: int, red: Red) -> Next[Red | Green]:
        visits.append(red)
        return Next.state(Red() if len(visits) < 3 else Green())

    assert await called(lights(on_red, green), Red()) == (Success.with_result("green 0"), [Red(), Red(), Green()])


async def test_a_run_may_take_as_many_steps_as_its_limit() -> None:
    task = lights(lambda m, red: Next.state(Red(red.n + 1) if red.n < 2 else Green()), green, step_limit=3)
    assert await called(task, Red()) == (Success.with_result("green 0"), [Red(1), Red(2), Green()])


async def test_a_loop_without_end_is_stopped_at_the_limit_with_all_its_steps_committed() -> None:
    task = lights(lambda m, red: Next.state(Green(red.n)), lambda m, green: Next.state(Red(green.n + 1)), step_limit=3)
    execution = recorded_execution(Red())

    with pytest.raises(InvalidResult) as refused:
        await task(7, Red(), execution)

    assert str(refused.value) == (
        "the machine 'lights' has taken 3 steps in one run, its step_limit, and would go on from Green to Red: raise "
        "step_limit if the loop ends, or let it suspend now and then, as with "
        "Next.state(...).with_outcome(Suspended().at_once())"
    )
    assert execution.commits == [Green(0), Red(1), Green(1)]


async def test_steps_are_counted_for_each_run_anew() -> None:
    task = lights(lambda m, red: Next.state(Red(red.n + 1) if red.n < 4 else Green()), green, step_limit=3)
    with pytest.raises(InvalidResult):
        await called(task, Red())
    assert await called(task, Red(3)) == (Success.with_result("green 0"), [Red(4), Green()])


async def test_a_step_that_ends_the_run_needs_no_room_under_the_limit() -> None:
    def on_red(metadata: int, red: Red) -> object:
        return Next.state(Red(1)) if red.n == 0 else Next.state(Green()).with_outcome(Success.with_result("done"))

    assert await called(lights(on_red, green, step_limit=1), Red()) == (
        Success.with_result("done"),
        [Red(1), Green()],
    )


class Handlers:
    """Handlers may be methods, and objects that can be called."""

    def on_red(self, metadata: int, red: Red) -> Next[Green]:
        """Take a step."""
        return Next.state(Green(metadata))

    async def __call__(self, metadata: int, red: Red, execution: Execution[Red | Green]) -> Next[Green]:
        """Take a step."""
        assert execution.attempt == 1
        return Next.state(Green(metadata))


def with_execution(metadata: int, red: Red, execution: Execution[Red | Green]) -> Next[Green]:
    return Next.state(Green(execution.attempt))


def of_any(*arguments: object) -> Next[Green]:
    return Next.state(Green(len(arguments)))


def with_more(more: int, metadata: int, red: Red, execution: object = None) -> Next[Green]:
    assert execution is None, "a parameter with a default is not asked for"
    return Next.state(Green(metadata + more))


@pytest.mark.parametrize(
    ("handler", "n"),
    [
        (with_execution, 1),
        (of_any, 2),
        (Handlers().on_red, 7),
        (Handlers(), 7),
        (partial(with_more, 3), 10),
    ],
    ids=["with execution", "any arguments", "method", "object", "partial"],
)
async def test_a_handler_may_be_anything_that_can_be_called(handler: Callable[..., Any], n: int) -> None:
    assert await called(lights(handler, green), Red()) == (Success.with_result(f"green {n}"), [Green(n)])


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "returned None, which is neither a Next nor one of Success, Suspended, Failure, Cancellation"),
        ("done", "returned a str, which is neither a Next"),
        (Failure.for_result(str), "returned a FailureFor, which is neither a Next"),
        (Next, "returned a type, which is neither a Next"),
        (Next.state(Elsewhere()), "returned a Elsewhere, which is no state of it, as the state of a Next: its states"),
    ],
)
async def test_a_handler_that_returns_something_else_is_named(returned: object, said: str) -> None:
    execution = recorded_execution(Red())

    with pytest.raises(InvalidResult) as refused:
        await lights(lambda m, red: returned, green)(7, Red(), execution)

    assert str(refused.value).startswith("the handler <lambda> of the machine 'lights' for Red ")
    assert said in str(refused.value)
    assert execution.commits == []


async def test_a_start_in_no_state_of_the_machine_is_refused() -> None:
    with pytest.raises(InvalidResult, match="a Elsewhere is no state of the machine 'lights': its states are Red, Gr"):
        await called(lights(green, green), Elsewhere())


@pytest.mark.parametrize("outcome", [None, "done", Failure.for_result(str), Next.state(Red())])
def test_an_outcome_is_one_of_the_four_results(outcome: Any) -> None:
    with pytest.raises(InvalidResult, match=f"got a {type(outcome).__name__}, which is none of Success"):
        Next.state(Red()).with_outcome(outcome)


def test_a_suspended_outcome_has_no_state_beside_that_of_the_next() -> None:
    with_own: Any = Suspended(Green())
    with pytest.raises(InvalidResult, match=r"give the state to Next.state\(\) only"):
        Next.state(Red()).with_outcome(with_own)


async def test_types_that_are_not_said_are_empty() -> None:
    task = (
        StateMachine.for_states(Red)
        .with_handler(Red, lambda _, red: Success.with_empty_result())
        .build(name="red", queue="bulk", priority=3, timeout_seconds=5)
    )
    assert (task.types.metadata, task.types.execution_metadata, task.types.result, task.types.error) == (
        Empty,
        Red,
        Empty,
        Empty,
    )
    assert (task.queue, task.priority, task.timeout_seconds) == ("bulk", 3, 5)
    assert (await run_once(task, Empty(), Red())).result == Success.with_empty_result()


async def test_a_builder_can_be_gone_on_with_twice() -> None:
    begun = StateMachine.for_states(Red).for_result(int)
    one = begun.with_handler(Red, lambda _, red: Success.with_result(1)).build(name="one")
    two = begun.with_handler(Red, lambda _, red: Success.with_result(2)).build(name="two")
    assert [(await run_once(task, Empty(), Red())).result for task in (one, two)] == [
        Success.with_result(1),
        Success.with_result(2),
    ]


def test_what_is_built_is_a_task() -> None:
    assert isinstance(order_task, Task)
    assert repr(order_task) == "<Task 'order' version 1, async>"
