"""An edit of a request as its requeue asks for it: user code between JSON text and JSON text, checked by the codec."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, cast

from returns.result import Success

from milepost.client.changing import other_task, raised, text_of
from milepost.lifecycle.events import Edited, Requeued
from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.refusals import ModificationFailed
from milepost.lifecycle.requeueing import start_of
from milepost.payload import JsonText, PayloadRefused, from_json_text
from milepost.tasks import AnyTask

Edit: TypeAlias = Callable[[Any, Any], tuple[Any, Any]]
"""A pure function from metadata and execution metadata to those that the task starts with anew."""


def edited(
    record: TaskRecord, event: Requeued, task: AnyTask | None, edit: Callable[[Any, Any], object]
) -> Edited | ModificationFailed:
    """What `edit` makes of the request: of the task's types, or, without a task, of JSON values.

    It is given the execution metadata that the requeue would go on from. Without a task it may repair what no task can
    read; text that is not even JSON it gets as it is.
    """
    other = other_task(record, task)
    if other is not None:
        return other
    start = record.changed({"execution_metadata_json": start_of(record, event)})
    values = _json_values(start) if task is None else _typed_values(start, task)
    if isinstance(values, PayloadRefused):
        return ModificationFailed(f"the request cannot be decoded: {values}; edit it as JSON, by its id or name")
    try:
        made: Any = edit(*values)
        if made.__class__ is not tuple or len(made) != 2:
            return ModificationFailed("the edit must return a tuple of metadata and execution metadata")
        new_metadata, new_execution_metadata = made
        metadata, execution_metadata = _texts(task, new_metadata, new_execution_metadata)
        if isinstance(metadata, PayloadRefused):
            return ModificationFailed(f"the edited metadata cannot be stored: {metadata}")
        if isinstance(execution_metadata, PayloadRefused):
            return ModificationFailed(f"the edited execution metadata cannot be stored: {execution_metadata}")
        keys = (record.rate_key, record.concurrency_key) if task is None else task.limit_keys(new_metadata)
    except Exception as error:  # user code may raise anything; nothing has been written yet
        return raised(error, record, task)
    return Edited(metadata, execution_metadata, record.version if task is None else task.version, *keys)


def _json_values(record: TaskRecord) -> tuple[Any, Any]:
    return _json_value(record.metadata_json), _json_value(record.execution_metadata_json)


def _json_value(text: str) -> Any:
    return from_json_text(text).value_or(cast("Any", text))


def _typed_values(record: TaskRecord, task: AnyTask) -> tuple[Any, Any] | PayloadRefused:
    decoded = task.decode(record.version, record.metadata_json, record.execution_metadata_json)
    return decoded.unwrap() if isinstance(decoded, Success) else decoded.failure()


def _texts(
    task: AnyTask | None, metadata: Any, execution_metadata: Any
) -> tuple[JsonText | PayloadRefused, JsonText | PayloadRefused]:
    if task is None:
        return text_of(None, metadata), text_of(None, execution_metadata)
    return text_of(task.codec.metadata, metadata), text_of(task.codec.execution_metadata, execution_metadata)
