"""What `modify` of a proceed and `edit` of a requeue share: a function of the user's over a task's payloads, or over
JSON values where the task is not known."""

from __future__ import annotations

from typing import Any

from returns.result import Success

from milepost.codec import TypeCodec
from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.refusals import ModificationFailed
from milepost.payload import JsonText, PayloadRefused, legible, to_json_text
from milepost.tasks import AnyTask


def other_task(record: TaskRecord, task: AnyTask | None) -> ModificationFailed | None:
    """Why a function over payloads of `task` cannot be called for this record, if it is of another task."""
    if task is None or record.name == task.name:
        return None
    return ModificationFailed(f"the task is a {record.name!r}, not a {task.name!r}")


def raised(error: Exception, record: TaskRecord, task: AnyTask | None) -> ModificationFailed:
    """The refusal for what the function raised, without the task's secrets."""
    said = legible(error) if task is None else task.hide(legible(error), record)
    return ModificationFailed(f"{type(error).__name__}: {said}")


def text_of(codec: TypeCodec[Any] | None, value: Any) -> JsonText | PayloadRefused:
    """What the function made, as it is stored."""
    if codec is not None:
        return codec.write(value)
    written = to_json_text(value)
    return written.unwrap() if isinstance(written, Success) else written.failure()
