"""What a reader of a finished task gets: its stored answer, decoded with the types of its task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from returns.result import Success as Decoded

from milepost.codec import TypeCodec
from milepost.crash import Crash, CrashKind
from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.states import FINAL_STATES, TaskState
from milepost.payload import JsonText
from milepost.results import Cancellation, Failure, Outcome, Success
from milepost.tasks import AnyTask

ENDED_STATES = (*FINAL_STATES, TaskState.QUARANTINED)
"""Where waiting ends: the final states, and quarantine, which only an operator ends."""


def outcome_of(record: TaskRecord, task: AnyTask | None) -> Outcome[Any, Any] | None:
    """The outcome of an ended task, None before; without a task, results and errors are plain JSON values."""
    match record.state:
        case TaskState.COMPLETED:
            return _decoded(Success, record.result_json, record.result, None if task is None else task.codec.result)
        case TaskState.FAILED | TaskState.CANCELLED if record.error_json is not None:
            answer: Callable[[Any], Outcome[Any, Any]] = Failure if record.state is TaskState.FAILED else Cancellation
            return _decoded(answer, record.error_json, record.error, None if task is None else task.codec.error)
        case TaskState.FAILED | TaskState.CANCELLED | TaskState.QUARANTINED:
            return record.crash or Crash(CrashKind.UNDECODABLE, "the stored outcome cannot be read")
        case _:
            return None


def _decoded(
    answer: Callable[[Any], Outcome[Any, Any]], text: JsonText | None, plain: object, codec: TypeCodec[Any] | None
) -> Outcome[Any, Any]:
    if codec is None or text is None:
        return answer(plain)
    decoded = codec.decode(text)
    if isinstance(decoded, Decoded):
        return answer(decoded.unwrap())
    # The task did end, but this program's types are not those that it was stored with.
    return Crash(CrashKind.UNDECODABLE, f"the stored outcome does not fit the task's types: {decoded.failure()}")
