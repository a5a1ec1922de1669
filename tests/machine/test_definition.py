"""What is wrong with a machine is told when it is built, with the fix."""

from __future__ import annotations

import inspect
from typing import Any, Generic, TypeVar

import attrs
import pytest
from attrs import frozen

from milepost import Empty, Json, Next, StateMachine, Success, TaskDefinitionError, TaskResult, task
from milepost.tasks import decorator
from milepost.tasks.options import TaskOptions
from milepost.testing import run_once

T = TypeVar("T")


@frozen
class A:
    pass


@frozen
class B:
    pass


@frozen
class C:
    pass


@frozen
class Box(Generic[T]):
    content: T


def done(metadata: Empty, state: object) -> TaskResult[Empty, Empty]:
    return Success.with_empty_result()


def of_one(state: A) -> None:
    raise AssertionError("it is never called")


def of_four(a: int, b: int, c: int, d: int) -> None:
    raise AssertionError("it is never called")


def of_two_and_a_name(a: int, b: int, *, c: int) -> None:
    raise AssertionError("it is never called")


def machine(states: Any, *handlers: tuple[Any, Any], **options: Any) -> Any:
    """Build a machine out of parts that no checker has seen."""
    builder: Any = StateMachine.for_states(states)
    for state, handler in handlers:
        builder = builder.with_handler(state, handler)
    return builder.build(**{"name": "m", **options})


@pytest.mark.parametrize(
    ("states", "handlers", "said"),
    [
        (A | B | C, [(A, done)], "the machine 'm' has no handler for B, C: add .with_handler(B, ...)"),
        (A, [], "the machine 'm' has no handler for A: add .with_handler(A, ...)"),
        (A, [(A, done), (A, len)], "the machine 'm' has two handlers for A, done and len: take one out"),
        (A, [(A, done), (B, done)], "the machine 'm' has a handler for B, which is none of its states (A): add it to"),
        (A, [(A, done), ("B", done)], "the machine 'm' has a handler for 'B', which is none of its states (A)"),
        (A | int, [(A, done)], "the machine 'm' has the state int: a state is an attrs class; write for_states(A | B)"),
        (A | None, [(A, done)], "the machine 'm' has the state NoneType: a state is an attrs class"),
        (str, [(str, done)], "the machine 'm' has the state str: a state is an attrs class"),
        ("A", [(A, done)], "the machine 'm' has the state 'A': a state is an attrs class"),
        ((A, B), [(A, done)], "a state is an attrs class; write for_states(A | B)"),
        (Any, [], "a state is an attrs class"),
        (Box[int] | Box[str], [], "the machine 'm' has two states of the class Box, which a handler could not tell"),
        (A, [(A, 3)], "the machine 'm' has 3 as its handler for A: give it a function"),
        (
            A,
            [(A, of_one)],
            "cannot call its handler for A, of_one(state: 'A') -> 'None': a handler takes (metadata, st",
        ),
        (A, [(A, of_four)], "cannot call its handler for A, of_four(a: "),
        (A, [(A, of_two_and_a_name)], "cannot call its handler for A, of_two_and_a_name(a: "),
        (A, [(A, dict[str, str])], "the machine 'm' cannot read the parameters of dict: wrap it in a def of your own"),
    ],
)
def test_a_wrong_machine_is_refused_when_it_is_built(states: Any, handlers: Any, said: str) -> None:
    with pytest.raises(TaskDefinitionError) as refused:
        machine(states, *handlers)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"step_limit": 0}, "the step_limit of the machine 'm' is a whole number from 1, got 0"),
        ({"step_limit": 2.0}, "the step_limit of the machine 'm' is a whole number from 1, got 2.0"),
        ({"step_limit": True}, "the step_limit of the machine 'm' is a whole number from 1, got True"),
        ({"name": "a machine"}, "the name of a task 'a machine' is not a name"),
        ({"timeout_seconds": 0}, "timeout_seconds must be above 0, got 0"),
        ({"version": 0}, "version is an integer from 1, got 0"),
    ],
)
def test_a_wrong_option_is_refused_when_it_is_built(options: dict[str, Any], said: str) -> None:
    with pytest.raises(TaskDefinitionError) as refused:
        machine(A, (A, done), **options)
    assert said in str(refused.value)


def test_a_type_that_cannot_be_stored_is_refused_with_the_machine_and_the_part() -> None:
    types = StateMachine.for_states(A)
    for part, builder in [
        ("metadata", types.for_metadata(complex)),
        ("result", types.for_result(complex)),
        ("error", types.for_error(complex)),
    ]:
        untyped: Any = builder
        with pytest.raises(TaskDefinitionError, match=f"^the task m has a type of {part} that cannot be stored: compl"):
            untyped.with_handler(A, done).build(name="m")


def test_a_state_with_a_field_that_cannot_be_stored_is_refused() -> None:
    @frozen
    class Holding:
        number: complex

    with pytest.raises(TaskDefinitionError, match=r"of execution metadata that cannot be stored: .*Holding.number"):
        machine(Holding, (Holding, done))


@pytest.mark.anyio
async def test_states_and_handlers_may_be_local_with_annotations_that_are_text() -> None:
    @frozen
    class Inner:
        n: int

    @frozen
    class Outer:
        inner: Inner

    def on_outer(metadata: Empty, outer: Outer) -> Next[Outer, int]:
        return Next.state(outer).with_outcome(Success.with_result(outer.inner.n))

    built = StateMachine.for_states(Outer).for_result(int).with_handler(Outer, on_outer).build(name="local")

    run = await run_once(built, Empty(), Outer(Inner(3)))
    assert (run.result, run.commits) == (Success.with_result(3), (Outer(Inner(3)),))
    assert "-> Outer, suspends in Outer, ends with Success" in built.diagram()


@pytest.mark.anyio
async def test_a_state_may_be_generic() -> None:
    def on_box(metadata: Empty, box: Box[int]) -> Success[Empty]:
        return Success.with_empty_result()

    def on_a(metadata: Empty, a: A) -> Next[Box[int]]:
        return Next.state(Box(4))

    built = machine(Box[int] | A, (Box[int], on_box), (A, on_a))

    assert "ends with Success" in built.diagram()
    assert (await run_once(built, Empty(), A())).commits == (Box(4),)


def test_a_request_without_a_first_state_is_refused_unless_the_only_state_has_defaults() -> None:
    several = machine(A | B, (A, done), (B, done))
    with pytest.raises(
        TaskDefinitionError, match=r"'m' cannot start without execution metadata, .* is a union and has no default: add"
    ):
        several.with_metadata(Empty()).draft()
    assert not isinstance(machine(A, (A, done)).with_metadata(Empty()).draft(), Exception)


def test_the_options_are_those_of_task() -> None:
    define = vars(decorator)["_define"]
    parameters = inspect.signature(define).parameters.values()
    options = {each.name for each in parameters if each.kind is each.KEYWORD_ONLY}
    assert TaskOptions.__optional_keys__ == options - {"name", "blocking", "cpu_bound"}


def test_every_option_reaches_the_task() -> None:
    options: dict[str, Any] = {
        "version": 2,
        "upgrades": {1: _same},
        "deadline_seconds": 60.0,
        "start_within_seconds": 30.0,
        "queue": "bulk",
    }

    def plain(metadata: Empty, state: A) -> TaskResult[Empty, Empty]:
        return Success.with_empty_result()

    untyped: Any = task
    plain_task, built = untyped(name="m", **options)(plain), machine(A, (A, done), **options)
    for each in options:
        assert getattr(built, each) == getattr(plain_task, each)
    assert attrs.evolve(built, queue="other").diagram() == built.diagram()


def _same(metadata: Json, state: Json) -> tuple[Json, Json]:
    return metadata, state
