"""A machine that is cut before and after every write of its life ends as the uncut one, through the same states."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, final

import trio
from attrs import define, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost import Cancellation, Failure, MilepostError, Next, StateMachine, Success, Suspended, Task, TaskResult

LEFT_MAX = 5


@frozen
class Red:
    left: int


@frozen
class Amber:
    left: int


@frozen
class Green:
    left: int


State: TypeAlias = Red | Amber | Green
KINDS: tuple[type[Red] | type[Amber] | type[Green], ...] = (Red, Amber, Green)
Way: TypeAlias = Literal["step", "suspend", "park", "end"]
Plan: TypeAlias = dict[State, tuple[Way, State]]
"""What the handler of a state answers, and the state that it names."""


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Any machine that ends: with each step there is less left to do, and at zero it ends."""
    plan: Plan = {}
    for left in range(1, LEFT_MAX + 1):
        for kind in KINDS:
            way: Way = draw(st.sampled_from(("step", "step", "suspend", "park", "end")))
            after = 0 if way == "end" else draw(st.integers(0, left - 1))
            plan[kind(left)] = way, draw(st.sampled_from(KINDS))(after)
    return plan


def outcome_of(state: State) -> Success[str, str] | Failure[str, str] | Cancellation[str, str]:
    """What a machine that has ended in `state` has answered."""
    match state:
        case Red():
            return Failure.with_error("red")
        case Amber():
            return Cancellation.with_error("amber")
        case Green():
            return Success.with_result("green")


def answer(plan: Plan, state: State) -> Next[State, str, str] | TaskResult[str, str, State]:
    if state.left == 0:
        return outcome_of(state)
    way, after = plan[state]
    match way:
        case "step":
            return Next.state(after)
        case "suspend":
            return Next.state(after).with_outcome(Suspended())
        case "park":
            return Suspended(after)
        case "end":
            return Next.state(after).with_outcome(outcome_of(after))


def machine_of(plan: Plan) -> Task[int, State, str, str]:
    async def on_amber(metadata: int, state: Amber) -> Next[State, str, str] | TaskResult[str, str, State]:
        return answer(plan, state)

    return (
        StateMachine.for_states(Red | Amber | Green)
        .for_metadata(int)
        .for_result(str)
        .for_error(str)
        .with_handler(Red, lambda metadata, state: answer(plan, state))
        .with_handler(Amber, on_amber)
        .with_handler(Green, lambda metadata, state, execution: answer(plan, state))
        .build(name="lights", step_limit=LEFT_MAX)
    )


def walked(plan: Plan, state: State) -> tuple[list[State], object]:
    """The states that the plan leads through, and the end, told without a machine."""
    states: list[State] = []
    while state.left:
        state = plan[state][1]
        states.append(state)
    return states, outcome_of(state)


class Killed(MilepostError):
    """The process is gone."""


@final
@define
class Life:
    """A task's row, and a process that dies before or after the write with the number `cut`; -1: it never dies."""

    state: State
    cut: int = -1
    before: bool = False
    writes: int = 0
    states: list[State] = field(factory=list[State])
    outcome: object = None

    async def commit(self, state: State) -> None:
        """As an execution's."""
        self._write(state, None)

    def store(self, result: TaskResult[str, str, State]) -> None:
        """What an executor does with what a run returned."""
        match result:
            case Suspended(execution_metadata=Red() | Amber() | Green() as state):
                self._write(state, None)
            case _:
                self._write(None, result)

    def _write(self, state: State | None, outcome: object) -> None:
        number, self.writes = self.writes, self.writes + 1
        if number == self.cut and self.before:
            raise Killed
        if state is not None:
            self.state = state
            self.states.append(state)
        self.outcome = outcome
        if number == self.cut:
            raise Killed


def lived(plan: Plan, start: State, cut: int = -1, *, before: bool = False) -> Life:
    """Run the machine again and again, from what is stored, until it has ended."""
    task: Any = machine_of(plan)
    life = Life(start, cut, before)

    async def live() -> None:
        while life.outcome is None:
            try:
                life.store(await task(7, life.state, life))
            except Killed:
                continue

    trio.run(live)
    return life


@given(plan=plans(), kind=st.sampled_from(KINDS))
@settings(max_examples=100)
def test_a_machine_cut_at_any_write_takes_the_same_way_to_the_same_end(plan: Plan, kind: type[Any]) -> None:
    start = kind(LEFT_MAX)
    uncut = lived(plan, start)
    assert (uncut.states, uncut.outcome) == walked(plan, start)

    for cut in range(uncut.writes):
        for before in (True, False):
            life = lived(plan, start, cut, before=before)
            assert (life.states, life.outcome) == (uncut.states, uncut.outcome), (cut, before)
            # One write is done twice if it was lost; one for the end, if the run was cut between state and end.
            assert life.writes <= uncut.writes + 1
