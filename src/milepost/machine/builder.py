"""Builds a state machine, typed so that both checkers refuse `build()` until every state has a handler."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from types import MethodType
from typing import Any, Concatenate, Generic, Never, ParamSpec, TypeVar, Unpack, final, overload

from attrs import frozen
from typing_extensions import TypeForm

from milepost.codec.usable import resolve_classes
from milepost.machine.definition import Pair, define_machine
from milepost.machine.next import Answer
from milepost.machine.running import driver
from milepost.machine.task import MachineTask
from milepost.results import Empty
from milepost.tasks import Execution, TaskTypes
from milepost.tasks.decorator import locals_of
from milepost.tasks.made import made_task
from milepost.tasks.options import TaskOptions

M = TypeVar("M")
S = TypeVar("S")
R = TypeVar("R")
E = TypeVar("E")
H = TypeVar("H")
M2 = TypeVar("M2")
R2 = TypeVar("R2")
E2 = TypeVar("E2")
T = TypeVar("T")
B = TypeVar("B")
P = ParamSpec("P")


class _Method(Generic[B, P, T]):
    """A method that checkers know only on a `B`, down to its type arguments.

    mypy forgets those of an annotated `self`, but not those of what a descriptor is given.
    """

    def __init__(self, function: Callable[Concatenate[B, P], T]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> _Method[B, P, T]: ...
    @overload
    def __get__(self, instance: B, owner: type[Any]) -> Callable[P, T]: ...
    def __get__(self, instance: Any, owner: type[Any]) -> Any:
        return self if instance is None else MethodType(self._function, instance)


@frozen
class MachineHandlers(Generic[S, M, R, E, H]):
    """A state machine over the states S, of which those in H have a handler."""

    _states: Any
    _metadata: Any = Empty
    _result: Any = Empty
    _error: Any = Empty
    _handlers: tuple[Pair, ...] = ()

    @overload
    def with_handler(
        self, state: type[T], handler: Callable[[M, T], Answer[S, R, E] | Coroutine[Any, Any, Answer[S, R, E]]]
    ) -> MachineHandlers[S, M, R, E, H | T]: ...
    @overload
    def with_handler(
        self,
        state: type[T],
        handler: Callable[[M, T, Execution[S]], Answer[S, R, E] | Coroutine[Any, Any, Answer[S, R, E]]],
    ) -> MachineHandlers[S, M, R, E, H | T]: ...
    def with_handler(self, state: type[Any], handler: Callable[..., Any]) -> MachineHandlers[S, M, R, E, Any]:
        """Call `handler` in `state`: a `def` or `async def` of (metadata, state) or (metadata, state, execution).

        It returns a `Next` or one of the four results. It needs no annotations; those of what it returns make diagrams.
        """
        return MachineHandlers(
            self._states, self._metadata, self._result, self._error, (*self._handlers, (state, handler))
        )

    @_Method
    def build(
        self: MachineHandlers[S, M, R, E, S], *, name: str, step_limit: int = 1_000, **options: Unpack[TaskOptions]
    ) -> MachineTask[M, S, R, E]:
        """The task that runs this machine, from the state that its request brings as execution metadata.

        A run takes at most `step_limit` steps; `name` and `options` are those of `@task`. Raises `TaskDefinitionError`
        unless every state has exactly one handler, all are states, and all types can be stored.
        """
        names = locals_of(inspect.currentframe())
        for type_ in (self._states, self._metadata, self._result, self._error):
            resolve_classes(type_, names)
        machine = define_machine(name, self._states, self._handlers, step_limit=step_limit, names=names)
        types = TaskTypes(self._metadata, self._states, self._result, self._error)
        return MachineTask.of(made_task(driver(machine), types, name=name, **options), machine)


@final
@frozen
class MachineTypes(MachineHandlers[S, M, R, E, Never], Generic[S, M, R, E]):
    """A state machine whose types are being said; each is `Empty` unless it is said before the first handler."""

    def for_metadata(self, metadata: TypeForm[M2]) -> MachineTypes[S, M2, R, E]:
        """Name the type of the request."""
        return MachineTypes(self._states, metadata, self._result, self._error)

    def for_result(self, result: TypeForm[R2]) -> MachineTypes[S, M, R2, E]:
        """Name the type of what the machine's Success holds."""
        return MachineTypes(self._states, self._metadata, result, self._error)

    def for_error(self, error: TypeForm[E2]) -> MachineTypes[S, M, R, E2]:
        """Name the type of what its Failure and its Cancellation hold."""
        return MachineTypes(self._states, self._metadata, self._result, error)


@final
class StateMachine:
    """Where a state machine begins: `StateMachine.for_states(Placed | Shipped)`."""

    @staticmethod
    def for_states(states: TypeForm[S]) -> MachineTypes[S, Empty, Empty, Empty]:
        """Name the states, attrs classes; what is left of a killed run is the state of its last step."""
        return MachineTypes(states)
