"""One run of a task in a test, with everything that it did, as a value."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, Generic, TypeVar, final

from attrs import frozen
from returns.result import Result
from returns.result import Success as Done
from typing_extensions import TypeIs

from milepost.codec import TypeCodec
from milepost.effects import Statement
from milepost.errors import TaskDefinitionError
from milepost.payload import PayloadRefused
from milepost.results import Cancellation, Failure, FollowUp, Outcome, Success, Suspended, TaskResult, Unchanged
from milepost.tasks import AnyTask, Task, TaskShape
from milepost.testing.recorded import RecordedExecution, RecordedTransaction, recorded_execution

M = TypeVar("M")
X = TypeVar("X")
R = TypeVar("R")
E = TypeVar("E")


@final
@frozen
class Run(Generic[R, E, X]):
    """What a run returned, committed, reported and would write; `statements` are those of `commit_with`."""

    result: TaskResult[R, E, X]
    commits: tuple[X, ...]
    reports: tuple[tuple[float, str], ...]
    statements: tuple[Statement, ...]

    @property
    def follow_ups(self) -> tuple[FollowUp, ...]:
        """The requests that the result carries."""
        return self.result.follow_ups

    @property
    def effects(self) -> tuple[Statement, ...]:
        """The statements that the result carries."""
        return self.result.effects


async def run_once(
    task: Task[M, X, R, E],
    metadata: M,
    execution_metadata: X,
    *,
    children: Iterable[tuple[AnyTask, Outcome[Any, Any]]] = (),
) -> Run[R, E, X]:
    """Call a task of any shape once, as an executor would, and return everything that it did.

    Metadata, execution metadata, commits and the answer make the journey through the codec, so what could not be stored
    fails here too, with `TaskDefinitionError`. What the function raises is raised. `children` are as of
    `recorded_execution`.
    """
    start = travelled(task, "execution_metadata", execution_metadata)
    execution: RecordedExecution[X] = recorded_execution(start, children=children)
    return await call_once(task, travelled(task, "metadata", metadata), execution)


async def call_once(task: Task[M, X, R, E], metadata: M, execution: RecordedExecution[X]) -> Run[R, E, X]:
    """`run_once` with an execution that is there already, and metadata and start that have made the journey."""
    arguments: list[Any] = [metadata, execution.start]
    if task.takes_execution:
        arguments.append(execution.blocking if task.shape is TaskShape.BLOCKING else execution)
    returned = task.function(*arguments)
    result: Any = await returned if inspect.isawaitable(returned) else returned
    commits = tuple(travelled(task, "execution_metadata", each) for each in execution.commits)
    _check(task, result)
    return Run(result, commits, tuple(execution.reports), _statements(execution))


def _statements(execution: RecordedExecution[Any]) -> tuple[Statement, ...]:
    transaction = execution.transaction
    return tuple(transaction.statements) if isinstance(transaction, RecordedTransaction) else ()


def _check(task: AnyTask, result: object) -> None:
    if not _is_result(result):
        raise TaskDefinitionError(
            f"{task.name!r} returned {result!r}, which is none of Success, Suspended, Failure, Cancellation"
        )
    match result:
        case Success(result=value):
            travelled(task, "result", value)
        case Failure(error=value) | Cancellation(error=value):
            travelled(task, "error", value)
        case Suspended(execution_metadata=value):
            if not isinstance(value, Unchanged):
                travelled(task, "execution_metadata", value)


def _is_result(value: object) -> TypeIs[TaskResult[Any, Any, Any]]:
    return isinstance(value, (Success, Failure, Suspended, Cancellation))


def travelled(task: AnyTask, part: str, value: Any) -> Any:
    """The value after a journey to JSON and back; raises `TaskDefinitionError` where it cannot make it."""
    codec: TypeCodec[Any] = getattr(task.codec, part)
    stored: Result[Any, PayloadRefused] = codec.encode(value)
    if isinstance(stored, Done):
        stored = codec.decode(stored.unwrap())
    if isinstance(stored, Done):
        return stored.unwrap()
    said = f"cannot store {value!r} as its {part.replace('_', ' ')}: {stored.failure()}"
    raise TaskDefinitionError(f"{task.name!r} {said}")
