"""Runs a state machine: one handler after the other, each step durable before the next handler is called."""

from __future__ import annotations

import inspect
from typing import Any

import attrs

from milepost.errors import InvalidResult
from milepost.machine.definition import Handler, Machine
from milepost.machine.next import Answer, Next, is_next, is_result
from milepost.results import Suspended, TaskResult
from milepost.tasks import Execution
from milepost.tasks.made import Driver


def driver(machine: Machine) -> Driver:
    """The function of the machine's task."""

    async def run(metadata: Any, state: Any, execution: Execution[Any]) -> TaskResult[Any, Any, Any]:
        steps = 0
        while True:
            answer = await _answer(machine, metadata, state, execution)
            if not isinstance(answer, Next):
                return answer
            if answer.outcome is not None:
                return await _ended(answer.target, answer.outcome, execution)
            if steps == machine.step_limit:
                raise _too_many_steps(machine, state, answer.target)
            await execution.commit(answer.target)
            state, steps = answer.target, steps + 1

    return run


async def _ended(
    state: Any, outcome: TaskResult[Any, Any, Any], execution: Execution[Any]
) -> TaskResult[Any, Any, Any]:
    if isinstance(outcome, Suspended):
        # One write for both: a commit of its own could be followed by a kill, and the next run would start as if the
        # task had been suspended and proceeded.
        return attrs.evolve(outcome, execution_metadata=state)
    await execution.commit(state)
    return outcome


async def _answer(machine: Machine, metadata: Any, state: Any, execution: Execution[Any]) -> Answer[Any, Any, Any]:
    handler = machine.handlers.get(state.__class__)
    if handler is None:
        raise InvalidResult(f"a {type(state).__name__} is no state of the machine {machine.name!r}: {_states(machine)}")
    answer: Any = handler.function(metadata, state, *([execution] if handler.takes_execution else []))
    if inspect.isawaitable(answer):
        answer = await answer
    if is_result(answer):
        return answer
    if not is_next(answer):
        raise _wrong(machine, handler, answer, "neither a Next nor one of Success, Suspended, Failure, Cancellation")
    if answer.target.__class__ not in machine.handlers:
        raise _wrong(machine, handler, answer.target, f"no state of it, as the state of a Next: {_states(machine)}")
    return answer


def _too_many_steps(machine: Machine, state: object, target: object) -> InvalidResult:
    return InvalidResult(
        f"the machine {machine.name!r} has taken {machine.step_limit} steps in one run, its step_limit, and would go "
        f"on from {type(state).__name__} to {type(target).__name__}: raise step_limit if the loop ends, or let it "
        "suspend now and then, as with Next.state(...).with_outcome(Suspended().at_once())"
    )


def _wrong(machine: Machine, handler: Handler, value: object, problem: str) -> InvalidResult:
    # Only its type is told: values may hold secrets.
    told = "None" if value is None else f"a {type(value).__name__}"
    return InvalidResult(
        f"the handler {handler.name} of the machine {machine.name!r} for {handler.state} returned {told}, "
        f"which is {problem}"
    )


def _states(machine: Machine) -> str:
    return f"its states are {', '.join(machine.states)}"
