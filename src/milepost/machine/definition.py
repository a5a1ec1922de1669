"""A state machine as a value, and what must be right about it before it can be built.

Whatever is missing, double or foreign is a `TaskDefinitionError` that names the machine, the state and the fix.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, TypeAlias, final, get_origin

from attrs import field, frozen

from milepost.codec.scalars import shown
from milepost.codec.usable import is_class, is_union, members_of, unwrapped
from milepost.errors import TaskDefinitionError
from milepost.machine.exits import Exits, exits_of

Pair: TypeAlias = tuple[type[Any], Callable[..., Any]]


@final
@frozen
class Handler:
    """What is called in one state."""

    state: str
    function: Callable[..., Any]
    takes_execution: bool
    exits: Exits

    @property
    def name(self) -> str:
        """As its program calls it."""
        return handler_name(self.function)


@final
@frozen(eq=False)
class Machine:
    """A complete state machine: a handler for every state."""

    name: str
    handlers: Mapping[type[Any], Handler] = field(repr=False)
    step_limit: int

    @property
    def states(self) -> tuple[str, ...]:
        """The names of the states, in the order of their definition."""
        return tuple(state.__name__ for state in self.handlers)


def define_machine(
    name: str, states: Any, handlers: Iterable[Pair], *, step_limit: int, names: Mapping[str, Any]
) -> Machine:
    """Check and read everything; `names` are the locals of who builds it, for annotations that only they resolve."""
    if type(step_limit) is not int or step_limit < 1:
        raise TaskDefinitionError(
            f"the step_limit of the machine {name!r} is a whole number from 1, got {shown(step_limit)}"
        )
    known = _states_of(name, states)
    given: dict[type[Any], Callable[..., Any]] = {}
    for state, function in handlers:
        cls = get_origin(state) or state
        if cls not in known:
            _refuse(
                name,
                f"has a handler for {_told(state)}, which is none of its states ({_listed(known)}): "
                "add it to for_states(), or take the handler out",
            )
        if cls in given:
            _refuse(
                name,
                f"has two handlers for {cls.__qualname__}, {handler_name(given[cls])} and {handler_name(function)}: "
                "take one out",
            )
        given[cls] = function
    if missing := [state for state in known if state not in given]:
        _refuse(
            name,
            f"has no handler for {_listed(missing)}: add .with_handler({missing[0].__name__}, ...), "
            "also for a state to end in",
        )
    by_name = {state.__name__: state for state in known}
    return Machine(name, {state: _handler(name, state, given[state], by_name, names) for state in known}, step_limit)


def handler_name(function: Callable[..., Any]) -> str:
    """As its program calls it."""
    return str(getattr(function, "__qualname__", repr(function))).rpartition("<locals>.")[2]


def _states_of(name: str, states: Any) -> list[type[Any]]:
    plain = unwrapped(states)
    members = list(members_of(plain)) if is_union(plain) else [plain]
    found: list[type[Any]] = []
    for member in members:
        if not is_class(unwrapped(member)):
            _refuse(name, f"has the state {_told(member)}: a state is an attrs class; write for_states(A | B)")
        cls = get_origin(unwrapped(member)) or unwrapped(member)
        if cls in found:
            _refuse(name, f"has two states of the class {cls.__qualname__}, which a handler could not tell apart")
        found.append(cls)
    return found


def _handler(
    name: str,
    state: type[Any],
    function: Callable[..., Any],
    states: Mapping[str, type[Any]],
    names: Mapping[str, Any],
) -> Handler:
    takes_execution = _takes_execution(name, state, function)
    return Handler(state.__name__, function, takes_execution, exits_of(function, state.__name__, states, names))


def _takes_execution(name: str, state: type[Any], function: Callable[..., Any]) -> bool:
    if not callable(function):
        _refuse(name, f"has {shown(function)} as its handler for {state.__qualname__}: give it a function")
    try:
        signature = inspect.signature(function)
    except ValueError:  # some functions written in C do not tell theirs
        _refuse(name, f"cannot read the parameters of {handler_name(function)}: wrap it in a def of your own")
    fitting = [count for count in (2, 3) if _can_be_called(signature, count)]
    if not fitting:
        _refuse(
            name,
            f"cannot call its handler for {state.__qualname__}, {handler_name(function)}{signature}: "
            "a handler takes (metadata, state) or (metadata, state, execution); use a closure for the rest",
        )
    return fitting[0] == 3


def _can_be_called(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _listed(states: Iterable[type[Any]]) -> str:
    return ", ".join(state.__qualname__ for state in states)


def _told(state: Any) -> str:
    return state.__qualname__ if isinstance(state, type) else shown(state)


def _refuse(name: str, problem: str) -> NoReturn:
    raise TaskDefinitionError(f"the machine {name!r} {problem}")
