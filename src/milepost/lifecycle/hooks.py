"""What the end of a task with an `on_outcome` leaves behind: another task, which calls that function. Pure but for ids.

It is inserted in the transaction that ends the task, so that no way to end it is missed.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from milepost.ids import new_id
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.ties import Join
from milepost.payload import JsonText, PayloadRefused, from_json_text, to_json_text

COMPANION_SUFFIX: Final = ":on-outcome"
POSITION: Final = "outcome"
"""What stands where the ordinal of a follow-up would, in the position of a companion."""

_NULL = JsonText("null")
_NOTHING = JsonText("{}")


def companion_name(name: str) -> str:
    """The name of the task that calls the `on_outcome` of the task with this name."""
    return f"{name}{COMPANION_SUFFIX}"


def companion(record: TaskRecord, now: datetime) -> TaskRecord:
    """The task that calls the `on_outcome` of `record`, which has just ended: due at once, in its queue and with its
    priority, and with all of its end as metadata.

    If the task has waited for others, those are to be handed over to it; it is suspended while some have not ended.
    """
    return TaskRecord(
        id=TaskId(new_id()),
        name=companion_name(record.name),
        version=record.version,
        queue=record.queue,
        priority=record.priority,
        correlation=record.correlation,
        audit=record.audit,
        due_at=now,
        metadata_json=ended_json(record),
        execution_metadata_json=_NOTHING,
        initial_execution_metadata_json=_NOTHING,
        parent=record.id,
        parent_position=f"{record.epoch}.{record.sequence}.{POSITION}",
        join=None if record.join is None else Join.ALL_FINISHED,
        created_at=now,
    )


def is_companion(record: TaskRecord) -> bool:
    """Whether the task was inserted by the end of another one, to call its `on_outcome`."""
    return record.parent_position is not None and record.parent_position.endswith(f".{POSITION}")


def ended_json(record: TaskRecord) -> JsonText:
    """All of an end, as canonical JSON; result and error as lists of at most one, for both may be null themselves."""
    crash = _NULL if record.crash is None else record.crash.to_json_text()
    result, error = ("" if text is None else _sound(text) for text in (record.result_json, record.error_json))
    return JsonText(
        f'{{"crash":{crash},"error":[{error}],"execution_metadata":{_sound(record.execution_metadata_json)},'
        f'"metadata":{_sound(record.metadata_json)},"result":[{result}],"state":"{record.state.value}"}}'
    )


def _sound(text: JsonText) -> JsonText:
    """The text itself, unless somebody has damaged it: then it is kept as a text, for the end must be stored."""
    if isinstance(from_json_text(text).value_or(PayloadRefused("$", "")), PayloadRefused):
        return to_json_text(text, bytes_max=2**62).value_or(_NULL)
    return text
