"""The children of a task in a test: outcomes as values, encoded as they would be stored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from milepost.codec import TypeCodec
from milepost.crash import Crash, CrashKind
from milepost.errors import TaskDefinitionError
from milepost.lifecycle.children import Child
from milepost.lifecycle.record import TaskId
from milepost.lifecycle.states import TaskState
from milepost.payload import JsonText, PayloadRefused
from milepost.results import Cancellation, Failure, Outcome, Success
from milepost.tasks import AnyTask
from milepost.tasks.children import Children


def recorded_children(ended: Iterable[tuple[AnyTask, Outcome[Any, Any]]]) -> Children:
    """What `execution.children` is after a wait for tasks that ended so, under made-up ids, in this order.

    Raises `TaskDefinitionError` for an outcome that the task could not have had.
    """
    pairs = list(ended)
    children = [_child(number, task, outcome) for number, (task, outcome) in enumerate(pairs, start=1)]
    return Children(children, {task.name: task for task, _ in pairs})


def _child(number: int, task: AnyTask, outcome: Outcome[Any, Any]) -> Child:
    id = TaskId(f"00000000-0000-7000-8000-{number:012d}")
    match outcome:
        case Success(result=value):
            text = _stored(task, "result", task.codec.result, value)
            return Child(id, task.name, task.version, TaskState.COMPLETED, result_json=text)
        case Failure(error=value):
            text = _stored(task, "error", task.codec.error, value)
            return Child(id, task.name, task.version, TaskState.FAILED, error_json=text)
        case Cancellation(error=value):
            text = _stored(task, "error", task.codec.error, value)
            return Child(id, task.name, task.version, TaskState.CANCELLED, error_json=text)
        case Crash(kind=kind):
            state = TaskState.CANCELLED if kind is CrashKind.CANCELLED else TaskState.FAILED
            return Child(id, task.name, task.version, state, crash=outcome)


def _stored(task: AnyTask, part: str, codec: TypeCodec[Any], value: object) -> JsonText:
    written = codec.write(value)
    if isinstance(written, PayloadRefused):
        raise TaskDefinitionError(f"{task.name!r} cannot have ended with this {part}: {written}")
    return written
