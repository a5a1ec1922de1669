"""Builds a saga, typed so that lambdas need no annotations: each step knows the metadata and what the task takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Generic, Never, TypeVar, Unpack, final, overload

import attrs
from attrs import frozen
from typing_extensions import TypeForm

from milepost.codec.usable import resolve_classes
from milepost.crash import Crash
from milepost.flows.plan import Plan, Step, Undo, checked_function, checked_plan, checked_task
from milepost.flows.progress import SagaFailed, SagaState, StepResults
from milepost.flows.running import saga_task
from milepost.results import Empty
from milepost.tasks import Task, TaskRequest
from milepost.tasks.decorator import locals_of
from milepost.tasks.definition import CommittingTask
from milepost.tasks.options import TaskOptions

M = TypeVar("M")
R = TypeVar("R")
E = TypeVar("E")
T = TypeVar("T")
M2 = TypeVar("M2")
X2 = TypeVar("X2")
R2 = TypeVar("R2")
E2 = TypeVar("E2")


def saga(metadata: TypeForm[M]) -> Saga[M, Empty, Never]:
    """Where a saga begins: with the type of its request.

    A saga is a task that takes its steps one after the other. When a task of a step does not succeed, whatever has
    succeeded is undone, the last step first, and the saga ends with the error `SagaFailed`. It undoes as well when it
    is cancelled, crashes or misses its deadline itself.
    """
    return Saga(Plan("", metadata, ()))


@frozen
class Saga(Generic[M, R, E]):
    """A saga that is being written; `build` makes it a task."""

    _plan: Plan = attrs.field(repr=False)

    def step(
        self,
        task: Task[M2, X2, R2, E2],
        request: Callable[[M, StepResults], M2 | TaskRequest[M2, X2, R2, E2]],
        *,
        name: str | None = None,
    ) -> SagaStep[M, R, E | E2, R2]:
        """Run `task` once everything before has succeeded, and wait for it.

        `request` gives its metadata, or a request of it, from the saga's metadata and the results of the steps before;
        it is pure, for it may be called again. `name` is stored (default: that of the task) and told in `SagaFailed`.
        """
        return SagaStep(self._with("step()", task, request, name, many=False))

    def fan_out(
        self,
        task: Task[M2, X2, R2, E2],
        requests: Callable[[M, StepResults], Iterable[M2 | TaskRequest[M2, X2, R2, E2]]],
        *,
        name: str | None = None,
    ) -> SagaStep[M, R, E | E2, R2]:
        """`step` for any number of runs of `task` side by side; none at all is a step as well.

        The first that does not succeed has the others cancelled.
        """
        return SagaStep(self._with("fan_out()", task, requests, name, many=True))

    def for_result(self, type: TypeForm[R2], result: Callable[[M, StepResults], R2]) -> Saga[M, R2, E]:
        """Name the type of the saga's result, and the pure function that gives it once all steps have succeeded."""
        checked_function(result, "for_result()")
        return Saga(attrs.evolve(self._plan, result_type=type, result=result))

    def build(
        self, *, name: str, **options: Unpack[TaskOptions]
    ) -> CommittingTask[M, SagaState, R, SagaFailed[E | Crash], SagaState]:
        """The task that runs this saga; `name` and `options` are those of `@task`.

        Whoever registers it registers the tasks of its steps and undos, and `<name>:undo`, which undoes a saga that has
        ended by something other than its own answer. Raises `TaskDefinitionError` for two steps of one name, an undo
        that does not take what its step gives, and types that cannot be stored.
        """
        plan = checked_plan(attrs.evolve(self._plan, name=name))
        names = locals_of(inspect.currentframe())
        for type_ in (plan.metadata, plan.result_type):
            resolve_classes(type_, names)
        return saga_task(plan, options)

    def _with(self, where: str, task: Any, request: Any, name: str | None, *, many: bool) -> Plan:
        checked_function(request, where)
        step = Step(checked_task(task, where).name if name is None else name, task, request, many)
        return attrs.evolve(self._plan, steps=(*self._plan.steps, step))


@final
@frozen
class SagaStep(Saga[M, R, E], Generic[M, R, E, T]):
    """A saga whose last step gives T, and can be told how it is undone."""

    @overload
    def undo(self, task: Task[T, Any, Any, Any], /) -> Saga[M, R, E]: ...
    @overload
    def undo(
        self, task: Task[M2, X2, R2, E2], request: Callable[[M, T], M2 | TaskRequest[M2, X2, R2, E2]], /
    ) -> Saga[M, R, E]: ...
    def undo(self, task: Any, request: Callable[..., Any] | None = None, /) -> Saga[M, R, E]:
        """Undo the step by `task`, once for each of its tasks that has succeeded.

        Its metadata is what that task has given, or what `request` makes of the saga's metadata and that; as of `step`,
        a request of `task` will do. An undo that fails for good, all its retries used up, keeps no other from being
        done.
        """
        *before, last = self._plan.steps
        if request is not None:
            checked_function(request, "undo()")
        undo = Undo(checked_task(task, "undo()"), request)
        return Saga(attrs.evolve(self._plan, steps=(*before, attrs.evolve(last, undo=undo))))
