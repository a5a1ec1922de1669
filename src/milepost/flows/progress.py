"""How far a saga is, and what it ends with: the values that are stored, and typed access to what its steps have given.

A saga keeps nothing else. What is in a `SagaState` was committed together with the tasks of the step that it names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar, cast, final

from attrs import field, frozen
from typing_extensions import TypeVar as DefaultTypeVar

from milepost.errors import TaskDefinitionError
from milepost.lifecycle.record import TaskId
from milepost.tasks import Task

R = TypeVar("R")
R_co = DefaultTypeVar("R_co", covariant=True, default=Any)
E_co = DefaultTypeVar("E_co", covariant=True, default=Any)
D_co = DefaultTypeVar("D_co", covariant=True, default=Any)
F_co = DefaultTypeVar("F_co", covariant=True, default=Any)


@final
@frozen
class SagaTask:
    """A task that a saga has enqueued and that succeeded: `client.get(id)` tells what it did."""

    task: str
    id: TaskId


@final
@frozen
class SagaFailed(Generic[E_co]):
    """The error of a saga: `error` is the answer, or the crash, of a task of `step` that did not succeed.

    `undone` are the tasks whose undo has succeeded, `not_undone` those whose undo has not, or whose result cannot be
    read; both in the order of the undoing. Tasks of steps without an undo are in neither.
    """

    step: str
    error: E_co
    undone: tuple[SagaTask, ...] = ()
    not_undone: tuple[SagaTask, ...] = ()


@final
@frozen
class SagaUndone:
    """What the undo task of a saga that was cut off has to tell, as of `SagaFailed`."""

    undone: tuple[SagaTask, ...] = ()
    not_undone: tuple[SagaTask, ...] = ()


@final
@frozen
class SagaPart(Generic[R_co]):
    """What one task of a step has given."""

    id: TaskId
    result: R_co


@final
@frozen
class SagaState(Generic[D_co, F_co]):
    """How far a saga is: the tasks of `step` are under way, and `done` has what those of each step before have given.

    With `failed` the saga undoes, and the undos of `step` are under way. Before the first step, `step` is empty.
    """

    step: str = ""
    done: D_co = field(factory=cast("Any", dict))
    failed: F_co | None = None


@final
class StepResults:
    """The results of the steps before, for the function that makes the requests of the next one."""

    __slots__ = ("_by_task", "_saga")

    def __init__(self, saga: str, by_task: Mapping[str, list[Any]]) -> None:
        self._saga = saga
        self._by_task = by_task

    def of(self, task: Task[Any, Any, R, Any]) -> list[R]:
        """What every run of `task` in the steps before has given, in the order of the requests.

        Raises `TaskDefinitionError` for a task of no step.
        """
        if task.name not in self._by_task:
            raise TaskDefinitionError(
                f"the saga {self._saga!r} has no step of {task.name!r}, whose results are asked for"
            )
        return list(self._by_task[task.name])

    def one(self, task: Task[Any, Any, R, Any]) -> R:
        """`of` where that is exactly one; raises LookupError where it is not."""
        results = self.of(task)
        if len(results) != 1:
            raise LookupError(
                f"the saga {self._saga!r} has {len(results)} results of {task.name!r} by now, and not one"
            )
        return results[0]

    def __repr__(self) -> str:
        return f"<StepResults of {self._saga!r}, {', '.join(f'{n}: {len(r)}' for n, r in self._by_task.items())}>"
