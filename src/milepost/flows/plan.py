"""A saga as a value: its steps, the requests that they make of what is known, and what must be right about them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypedDict, cast, final

from attrs import frozen

from milepost.codec.scalars import shown
from milepost.crash import Crash
from milepost.errors import InvalidResult, TaskDefinitionError
from milepost.flows.fitting import either, misfit
from milepost.flows.progress import SagaFailed, SagaPart, SagaState, StepResults
from milepost.kinds import is_a
from milepost.payload import Json as Json  # what the text "Json" in the types of a step stands for
from milepost.results import Empty
from milepost.tasks import AnyTask, Task, TaskRequest, TaskTypes
from milepost.tasks.checks import checked_name, checked_text
from milepost.tasks.group import AnyRequest


@final
@frozen(eq=False)
class Undo:
    """How what a step has done is undone: by `task`, asked for by `request`, or with the result as it is."""

    task: AnyTask
    request: Callable[[Any, Any], Any] | None = None


@final
@frozen(eq=False)
class Step:
    """What a saga does at one go."""

    name: str
    task: AnyTask
    request: Callable[[Any, StepResults], Any]
    many: bool = False
    undo: Undo | None = None


@final
@frozen(eq=False)
class Plan:
    """A complete saga."""

    name: str
    metadata: Any
    steps: tuple[Step, ...]
    result_type: Any = Empty
    result: Callable[[Any, StepResults], Any] = lambda metadata, done: Empty()

    @property
    def tasks(self) -> tuple[AnyTask, ...]:
        """Those of all steps and their undos, each once."""
        undos = (step.undo.task for step in self.steps if step.undo is not None)
        return tuple(dict.fromkeys([*(step.task for step in self.steps), *undos]))

    @property
    def types(self) -> TaskTypes:
        """Those of the saga's task."""
        part: Any = SagaPart
        failed: Any = SagaFailed
        state: Any = SagaState
        typed_dict: Any = TypedDict
        # One key for each step, so that what is stored of it has the types of its task, secrets included.
        done = typed_dict("Done", {step.name: list[part[step.task.types.result]] for step in self.steps}, total=False)
        error = failed[either([*(step.task.types.error for step in self.steps), Crash])]
        return TaskTypes(self.metadata, state[done, error], self.result_type, error)

    def index(self, state: SagaState) -> int:
        """The place of the step that is under way. Raises `InvalidResult` where there is none of that name."""
        for index, step in enumerate(self.steps):
            if step.name == state.step:
                return index
        raise InvalidResult(
            f"the saga {self.name!r} was in its step {state.step!r}, which it does not have any more: keep a step "
            "until no saga is in it, or give the changed saga another name"
        )

    def results(self, state: SagaState) -> StepResults:
        """What the steps before have given."""
        found: dict[str, list[Any]] = {step.task.name: [] for step in self.steps}
        for step in self.steps:
            found[step.task.name] += (part.result for part in state.done.get(step.name, ()))
        return StepResults(self.name, found)

    def requests(self, step: Step, metadata: Any, state: SagaState) -> list[AnyRequest]:
        """What a step asks for, given what the steps before have given; nothing where a fan-out is empty."""
        asked: Any = step.request(metadata, self.results(state))
        if not step.many:
            return [self._step_request(step, asked)]
        if is_a(asked, str | bytes | dict) or not is_a(asked, Iterable):  # a text can be iterated over, by mistake
            self._refuse(f"got a {type(asked).__name__} for its fan-out {step.name!r}, which takes a list")
        return [self._step_request(step, each) for each in cast("Iterable[object]", asked)]

    def undo_requests(self, step: Step, undo: Undo, metadata: Any, state: SagaState) -> list[AnyRequest]:
        """What undoes a step: one for each of its tasks that has succeeded, in their order."""
        found: list[AnyRequest] = []
        for part in state.done.get(step.name, ()):
            asked = part.result if undo.request is None else undo.request(metadata, part.result)
            request = self._request(f"{step.name} (undo)", undo.task, asked)
            if request.key is not None:
                self._refuse(
                    f"got a request with the key {request.key!r} for the undo of {step.name!r}: another task of this "
                    "key would be taken for the undo; leave out with_key()"
                )
            found.append(request)
        return found

    def _step_request(self, step: Step, asked: object) -> AnyRequest:
        request = self._request(step.name, step.task, asked)
        if request.key is not None and step.undo is not None:
            self._refuse(
                f"got a request with the key {request.key!r} for its step {step.name!r}, which has an undo: a task of "
                "this key that somebody else has enqueued would be taken for the step, and undone; leave out with_key()"
            )
        return request

    def _request(self, where: str, task: AnyTask, asked: object) -> AnyRequest:
        given: Any = asked
        request: AnyRequest = given if is_a(asked, TaskRequest) else task.with_metadata(given)
        if request.task.name != task.name:
            self._refuse(f"got a request for {request.task.name!r} in its step {where}, which is one of {task.name!r}")
        return request

    def _refuse(self, problem: str) -> NoReturn:
        raise InvalidResult(f"the saga {self.name!r} {problem}")


def checked_plan(plan: Plan) -> Plan:
    """The plan itself; raises `TaskDefinitionError` for what could never run, with the fix."""
    checked_name(plan.name, "name of a saga")
    if not plan.steps:
        raise TaskDefinitionError(f"the saga {plan.name!r} has no steps: add .step(task, lambda metadata, done: ...)")
    names: set[str] = set()
    for step in plan.steps:
        checked_text(step.name, "name of a step")  # the empty one stands for no step
        if step.name in names:
            raise TaskDefinitionError(
                f"the saga {plan.name!r} has two steps of the name {step.name!r}: give one another name=..."
            )
        names.add(step.name)
        if step.undo is not None and step.undo.request is None and (why := misfit(step.task, step.undo.task)):
            raise TaskDefinitionError(
                f"the saga {plan.name!r} cannot undo {step.name!r} with the result as it is: {why}; "
                "give undo() a function of metadata and result"
            )
    return plan


def checked_task(task: AnyTask, where: str) -> AnyTask:
    """The task itself; raises `TaskDefinitionError` unless it is one."""
    if not is_a(task, Task):
        raise TaskDefinitionError(f"{where} takes a task, got {shown(task)}: use @task on the function")
    return task


def checked_function(function: Callable[..., Any], where: str) -> Callable[..., Any]:
    """The function itself; raises `TaskDefinitionError` unless it can be called with two values, at once."""
    given: object = function
    if not callable(given) or inspect.iscoroutinefunction(given):
        raise TaskDefinitionError(f"{where} takes a function of metadata and results, got {shown(function)}")
    if not _takes_two(function):
        raise TaskDefinitionError(
            f"{where} takes a function of two parameters, as lambda metadata, results: ..., got {shown(function)}"
        )
    return function


def _takes_two(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # some builtins tell nothing of their parameters
        return True
    return True
