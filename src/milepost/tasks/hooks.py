"""`on_outcome`: the task that calls it, once the task that it belongs to has ended, however that came.

Such a companion is an ordinary task, registered along with its own. What the function returns are its follow-ups; what
it raises is retried, and then a failed task that people see.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar, cast, final

from attrs import frozen

from milepost.codec import CodecFactory
from milepost.codec.scalars import shown
from milepost.crash import Crash
from milepost.errors import InvalidResult, TaskDefinitionError
from milepost.kinds import is_a
from milepost.lifecycle.hooks import companion_name
from milepost.lifecycle.states import TaskState
from milepost.payload import PAYLOAD_BYTES_LIMIT, Json
from milepost.results import Cancellation, Empty, Failure, Outcome, Success, TaskResult
from milepost.tasks.checks import checked_name, takes_children
from milepost.tasks.children import Children
from milepost.tasks.definition import (
    AnyTask,
    CommittingTask,
    Task,
    TaskCodec,
    TaskRequest,
    TaskShape,
    TaskTypes,
    Upgrade,
)
from milepost.tasks.execution import Execution
from milepost.tasks.group import GroupMember, TaskGroup

M = TypeVar("M")
X = TypeVar("X")
R = TypeVar("R")
E = TypeVar("E")

OnOutcome: TypeAlias = (
    Callable[[M, X, Outcome[R, E]], Sequence[GroupMember]]
    | Callable[[M, X, Outcome[R, E], Children], Sequence[GroupMember]]
)
"""A pure function of metadata, last execution metadata, outcome and, if it asks for them, the children that the task
has waited for; it returns what is to be enqueued."""


@final
@frozen
class Ended(Generic[M, X, R, E]):
    """The end of a task as its companion gets it; `lifecycle.hooks.ended_json` writes it."""

    metadata: M
    execution_metadata: X
    state: TaskState
    result: tuple[R, ...]
    error: tuple[E, ...]
    crash: Crash | None

    @property
    def outcome(self) -> Outcome[R, E]:
        """What a reader of the task gets."""
        if self.state is TaskState.COMPLETED:
            return Success(self.result[0])
        if self.error:
            return Failure(self.error[0]) if self.state is TaskState.FAILED else Cancellation(self.error[0])
        if self.crash is None:
            raise InvalidResult(f"a task that is {self.state.value} has neither an error nor a crash")
        return self.crash


def with_on_outcome(task: Task[M, X, R, E], function: Callable[..., Any]) -> Task[M, X, R, E]:
    """`task`, which has `function` as its `on_outcome`, with its companion among its parts."""
    return task.with_parts(_companion(task, function))


def checked_on_outcome(function: object) -> Callable[..., Any] | None:
    """The function itself; raises `TaskDefinitionError` unless it can be called as an `on_outcome`."""
    if function is None:
        return None
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise TaskDefinitionError(
            f"on_outcome is a plain def that returns requests, got {shown(function)}: what awaits belongs into a task "
            "that it returns a request for"
        )
    takes_children(function)
    return function


def _companion(task: AnyTask, function: Callable[..., Any]) -> AnyTask:
    types = TaskTypes(_ended_type(task), Empty, Empty, Empty)
    factory = CodecFactory()
    codec = TaskCodec(*map(factory.codec, (types.metadata, Empty, Empty, Empty))).bounded(PAYLOAD_BYTES_LIMIT)
    return CommittingTask[Any, Any, Any, Any, Any](
        _calling(task, function),
        checked_name(companion_name(task.name), "name of a task, with what its on_outcome appends to it,"),
        types,
        codec,
        TaskShape.ASYNC,
        takes_execution=True,
        version=task.version,
        upgrades={version: _lifted(upgrade) for version, upgrade in task.upgrades.items()},
        payload_bytes_max=PAYLOAD_BYTES_LIMIT,
        queue=task.queue,
        priority=task.priority,
        audit=task.audit,
    )


def _ended_type(task: AnyTask) -> Any:
    generic: Any = Ended
    types = task.types
    return generic[types.metadata, types.execution_metadata, types.result, types.error]


def _calling(task: AnyTask, function: Callable[..., Any]) -> Callable[..., Any]:
    with_children = takes_children(function)

    async def call(
        ended: Ended[Any, Any, Any, Any], nothing: Empty, execution: Execution[Empty]
    ) -> TaskResult[Empty, Empty]:
        arguments = (ended.metadata, ended.execution_metadata, ended.outcome)
        requests: object = function(*arguments, execution.children) if with_children else function(*arguments)
        return Success.with_empty_result().for_empty_error().then_enqueue(*_checked(task, requests))

    return call


def _checked(task: AnyTask, requests: object) -> Sequence[GroupMember]:
    if not is_a(requests, Sequence) or not all(
        is_a(each, TaskRequest | TaskGroup) for each in cast("Sequence[object]", requests)
    ):
        raise InvalidResult(
            f"the on_outcome of {task.name!r} returns a list of requests, as task.with_metadata(...) gives them, and "
            f"of groups, got {'something else' if task.has_secrets else shown(requests)}"
        )
    return cast("Sequence[GroupMember]", requests)


def _lifted(upgrade: Upgrade) -> Upgrade:
    """An upgrade of a task, for what is kept of its end."""

    def lifted(metadata: Json, execution_metadata: Json) -> tuple[Json, Json]:
        ended = cast("dict[str, Json]", metadata)
        upgraded = upgrade(ended["metadata"], ended["execution_metadata"])
        return {**ended, "metadata": upgraded[0], "execution_metadata": upgraded[1]}, execution_metadata

    return lifted
