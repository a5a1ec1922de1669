"""What a reader of a finished task gets: its stored answer, decoded with the types of its task."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from returns.result import Success as Decoded

from milepost.crash import Crash, CrashKind
from milepost.lifecycle.children import Child
from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.states import FINAL_STATES, TaskState
from milepost.payload import JsonText, from_json_text
from milepost.results import Cancellation, Failure, Outcome, Success

if TYPE_CHECKING:
    from milepost.codec import TypeCodec
    from milepost.tasks.definition import AnyTask

ENDED_STATES = (*FINAL_STATES, TaskState.QUARANTINED)
"""Where waiting ends: the final states, and quarantine, which only an operator ends."""


def outcome_of(ended: TaskRecord | Child, task: AnyTask | None) -> Outcome[Any, Any] | None:
    """The outcome of an ended task, None before; without a task, results and errors are plain JSON values."""
    match ended.state:
        case TaskState.COMPLETED:
            return _decoded(Success, ended.result_json, None if task is None else task.codec.result)
        case TaskState.FAILED | TaskState.CANCELLED if ended.error_json is not None:
            answer: Callable[[Any], Outcome[Any, Any]] = Failure if ended.state is TaskState.FAILED else Cancellation
            return _decoded(answer, ended.error_json, None if task is None else task.codec.error)
        case TaskState.FAILED | TaskState.CANCELLED | TaskState.QUARANTINED:
            return ended.crash or Crash(CrashKind.UNDECODABLE, "the stored outcome cannot be read")
        case _:
            return None


def _decoded(
    answer: Callable[[Any], Outcome[Any, Any]], text: JsonText | None, codec: TypeCodec[Any] | None
) -> Outcome[Any, Any]:
    if text is None:
        return answer(None)
    if codec is None:
        # What cannot be read is shown as the text that it is.
        return answer(from_json_text(text).value_or(cast("Any", text)))
    decoded = codec.decode(text)
    if isinstance(decoded, Decoded):
        return answer(decoded.unwrap())
    # The task did end, but this program's types are not those that it was stored with.
    return Crash(CrashKind.UNDECODABLE, f"the stored outcome does not fit the task's types: {decoded.failure()}")
