"""How a machine is drawn: what annotations tell, and what is said where they do not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from attrs import frozen

from milepost import Cancellation, Empty, Failure, Next, StateMachine, Success, Suspended, TaskResult
from tests.machine.orders import order_task

SAID = "any state can be the first: the request brings it; the ways are those in the return annotations of the handlers"

ENDS = "ends with Success | Failure | Cancellation"


@frozen
class Idle:
    pass


@frozen
class Busy:
    pass


@frozen
class State:
    """A name that is Mermaid's own."""


@frozen
class Elsewhere:
    pass


def drawn(handler: Callable[..., Any]) -> Any:
    """A machine that begins with `handler`."""
    builder = StateMachine.for_states(Idle | Busy).for_result(int).for_error(str)
    return builder.with_handler(Idle, handler).with_handler(Busy, lambda m, busy: Suspended()).build(name="m")


def way_of(handler: Callable[..., Any]) -> str:
    line: str = drawn(handler).diagram().splitlines()[1]
    return line.removeprefix("  Idle ")


def test_a_machine_as_text() -> None:
    assert order_task.diagram() == (
        "order\n"
        f"  Placed          -> AwaitingPayment, suspends in AwaitingPayment, {ENDS}\n"
        "  AwaitingPayment -> Shipped, suspends in AwaitingPayment, ends with Cancellation\n"
        f"  Shipped         suspends in Shipped, {ENDS}\n"
        f"{SAID}"
    )


def test_a_machine_for_mermaid() -> None:
    assert order_task.mermaid().splitlines() == [
        f"%% order: {SAID}",
        "stateDiagram-v2",
        "    Placed",
        "    Placed --> AwaitingPayment",
        "    Placed --> AwaitingPayment: Suspended",
        "    Placed --> [*]: Success, Failure, Cancellation",
        "    AwaitingPayment",
        "    AwaitingPayment --> Shipped",
        "    AwaitingPayment --> AwaitingPayment: Suspended",
        "    AwaitingPayment --> [*]: Cancellation",
        "    Shipped",
        "    Shipped --> Shipped: Suspended",
        "    Shipped --> [*]: Success, Failure, Cancellation",
    ]


def goes_on(m: Empty, idle: Idle) -> Next[Busy]:
    raise AssertionError("a diagram calls nobody")


def goes_both_ways(m: Empty, idle: Idle) -> Next[Busy | Idle]:
    raise AssertionError


def ends_in(m: Empty, idle: Idle) -> Next[Busy, int]:
    raise AssertionError


def fails_in(m: Empty, idle: Idle) -> Next[Busy, Any, str] | Next[Idle]:
    raise AssertionError


def suspends_in(m: Empty, idle: Idle) -> Suspended[int, str, Busy]:
    raise AssertionError


def ends(m: Empty, idle: Idle) -> Success[int] | Failure[int, str] | Cancellation[int, str]:
    raise AssertionError


async def awaits(m: Empty, idle: Idle) -> Next[Busy] | TaskResult[int, str]:
    raise AssertionError


def with_more(more: int, m: Empty, idle: Idle) -> Next[Busy]:
    raise AssertionError


class Handlers:
    """Handlers of other kinds."""

    def on_idle(self, m: Empty, idle: Idle) -> Next[Busy]:
        """A method."""
        raise AssertionError

    def __call__(self, m: Empty, idle: Idle) -> Next[Busy]:
        """An object that can be called."""
        raise AssertionError


@pytest.mark.parametrize(
    ("handler", "way"),
    [
        (goes_on, "-> Busy"),
        (goes_both_ways, "-> Busy | Idle"),
        (ends_in, "-> Busy, suspends in Busy, ends with Success"),
        (fails_in, "-> Busy | Idle, suspends in Busy, ends with Success | Failure | Cancellation"),
        (suspends_in, "suspends in Busy"),
        (ends, "ends with Success | Failure | Cancellation"),
        (awaits, "-> Busy, suspends in Idle, ends with Success | Failure | Cancellation"),
        (partial(with_more, 3), "-> Busy"),
        (Handlers().on_idle, "-> Busy"),
        (Handlers(), "-> Busy"),
    ],
)
def test_a_return_annotation_tells_the_ways_out_of_a_state(handler: Callable[..., Any], way: str) -> None:
    assert way_of(handler) == way


def unresolved(m: Empty, idle: Idle) -> Next[Busy]:
    raise AssertionError


unresolved.__annotations__["idle"] = "Nowhere"


async def unannotated(m: Empty, idle: Idle) -> object:
    raise AssertionError


del unannotated.__annotations__["return"]


def bare(m: Empty, idle: Idle) -> Next:
    raise AssertionError


def foreign(m: Empty, idle: Idle) -> Next[Elsewhere]:
    raise AssertionError


def foreign_suspension(m: Empty, idle: Idle) -> Suspended[int, str, Elsewhere]:
    raise AssertionError


def awaitable(m: Empty, idle: Idle) -> Awaitable[Next[Busy]]:
    raise AssertionError


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        (unannotated, "the handler unannotated has no return annotation"),
        (unresolved, "the handler unresolved has annotations that cannot be resolved"),
        (bare, "the handler bare has a Next without its states in its return annotation"),
        (foreign, "the handler foreign has a return annotation with something that is no state of the machine"),
        (foreign_suspension, "has a return annotation with something that is no state of the machine"),
        (awaitable, "has a return annotation that is not of Next and the four results"),
    ],
)
def test_what_cannot_be_known_is_said_and_not_guessed(handler: Callable[..., Any], why: str) -> None:
    assert way_of(handler).startswith("-> ? (the handler ")
    assert why in way_of(handler)
    (note,) = [line for line in drawn(handler).mermaid().splitlines() if "note right of Idle" in line]
    assert why.removeprefix("the handler ") in note


def test_a_state_with_a_name_of_mermaids_own_gets_another_id() -> None:
    def on_state(m: Empty, state: State) -> Next[State]:
        raise AssertionError

    drawing = StateMachine.for_states(State).with_handler(State, on_state).build(name="m").mermaid()
    assert drawing.splitlines()[2:] == ['    state "State" as State_', "    State_ --> State_"]


def test_handlers_that_name_what_only_their_own_function_knows_are_read() -> None:
    @frozen
    class Local:
        pass

    def on_local(m: Empty, local: Local) -> Next[Local]:
        raise AssertionError

    def built() -> str:
        return StateMachine.for_states(Local).with_handler(Local, on_local).build(name="m").diagram()

    assert "  Local -> Local\n" in built()
