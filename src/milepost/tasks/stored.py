"""What a stored row means to a task: upgraded to its version, decoded, and what of it people may see.

Pure. Rows are of any age and may be damaged, upgrades and classes are user code: whatever is wrong is a `RowFault`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, final

from attrs import frozen
from returns.result import Failure, Result, Success

from milepost.codec.faults import Fault
from milepost.codec.secrets import without
from milepost.lifecycle.record import TaskRecord
from milepost.payload import (
    PAYLOAD_BYTES_LIMIT,
    Json,
    JsonText,
    PayloadRefused,
    from_json_text,
    legible,
    to_json_text,
)

if TYPE_CHECKING:
    from milepost.codec import TypeCodec
    from milepost.tasks.definition import AnyTask, TaskCodec

METADATA: Final = "metadata"
EXECUTION_METADATA: Final = "execution metadata"
INITIAL: Final = "initial execution metadata"


@final
@frozen
class RowFault:
    """Why a row cannot be read: which part of it, none where it is the whole, and where and why in that part."""

    part: str
    fault: Fault

    @property
    def refusal(self) -> PayloadRefused:
        """As it is told."""
        return PayloadRefused(f"{self.part} {self.fault.path}".lstrip(), self.fault.reason)


def decoded(task: AnyTask, version: int, metadata: str, x: str) -> Result[tuple[Any, Any], PayloadRefused]:
    """The typed metadata and execution metadata of stored texts."""
    upgraded = (metadata, x) if version == task.version else _upgraded(task, version, metadata, x, EXECUTION_METADATA)
    if isinstance(upgraded, RowFault):
        return Failure(upgraded.refusal)
    codec = task.codec
    for fault in _faults(codec, *upgraded):
        return Failure(fault.refusal)
    return Success((codec.metadata.read(upgraded[0]), codec.execution_metadata.read(upgraded[1])))


def moved(task: AnyTask, record: TaskRecord) -> TaskRecord | RowFault:
    """The record with version and payloads of the task's version; itself where it has that version already."""
    if record.version == task.version:
        return record
    x, initial = record.execution_metadata_json, record.initial_execution_metadata_json
    upgraded = _upgraded(task, record.version, record.metadata_json, x, EXECUTION_METADATA)
    if isinstance(upgraded, RowFault):
        return upgraded
    first = upgraded if initial == x else _upgraded(task, record.version, record.metadata_json, initial, INITIAL)
    if isinstance(first, RowFault):
        return first
    return record.changed(
        {
            "version": task.version,
            "metadata_json": upgraded[0],
            "execution_metadata_json": upgraded[1],
            "initial_execution_metadata_json": first[1],
        }
    )


def faults_of(task: AnyTask, record: TaskRecord) -> Iterator[RowFault]:
    """Everything that keeps this program from reading a row, the first fault of each part."""
    now = moved(task, record)
    if isinstance(now, RowFault):
        yield now
    else:
        yield from _faults(task.codec, now.metadata_json, now.execution_metadata_json)
        if now.initial_execution_metadata_json != now.execution_metadata_json:
            yield from _fault(INITIAL, task.codec.execution_metadata, now.initial_execution_metadata_json)
    if record.state.is_final:
        yield from _fault("result", task.codec.result, record.result_json)
        yield from _fault("error", task.codec.error, record.error_json)


def shown(task: AnyTask, record: TaskRecord) -> TaskRecord:
    """The record for people: each payload with a mask for its secrets."""
    now = moved(task, record)
    # Of a row that cannot be read nothing is known to be no secret.
    readable = record if isinstance(now, RowFault) else now
    codec = task.codec
    x = codec.execution_metadata
    return record.changed(
        {
            "metadata_json": _masked(codec.metadata, record.metadata_json, readable.metadata_json),
            "execution_metadata_json": _masked(x, record.execution_metadata_json, readable.execution_metadata_json),
            "initial_execution_metadata_json": _masked(
                x, record.initial_execution_metadata_json, readable.initial_execution_metadata_json
            ),
            "result_json": _masked(codec.result, record.result_json, record.result_json),
            "error_json": _masked(codec.error, record.error_json, record.error_json),
        }
    )


def hidden(task: AnyTask, record: TaskRecord, text: str) -> str:
    """`text`, which user code has written, without the secrets of a row."""
    codec = task.codec
    if not _is_discreet(task):
        return text
    now = moved(task, record)
    row = record if isinstance(now, RowFault) else now
    secrets = codec.metadata.secrets_in(row.metadata_json)
    return without(text, secrets | codec.execution_metadata.secrets_in(row.execution_metadata_json))


def _faults(codec: TaskCodec, metadata: str, x: str) -> Iterator[RowFault]:
    yield from _fault(METADATA, codec.metadata, metadata)
    yield from _fault(EXECUTION_METADATA, codec.execution_metadata, x)


def _fault(part: str, codec: TypeCodec[Any], text: str | None) -> Iterator[RowFault]:
    fault = None if text is None else codec.fault_of(text)
    if fault is not None:
        yield RowFault(part, fault)


def _masked(codec: TypeCodec[Any], stored: JsonText | None, readable: JsonText | None) -> JsonText | None:
    return stored if readable is None or not codec.has_secrets else codec.masked(readable)


def _upgraded(task: AnyTask, version: int, metadata: str, x: str, part: str) -> tuple[JsonText, JsonText] | RowFault:
    if version > task.version:
        why = f"stored as version {version}, this program knows {task.name!r} up to {task.version}"
        return _whole(why, why)
    values: list[Json] = []
    for name, text in ((METADATA, metadata), (part, x)):
        match from_json_text(text):
            case Success(value):
                values.append(value)
            case refused:
                told = refused.failure()
                return RowFault(name, Fault(told.path, told.path, told.reason, "not JSON"))
    for step in range(version, task.version):
        upgrade = task.upgrades.get(step)
        if upgrade is None:
            why = f"stored as version {version} and {task.name!r} has no upgrade from {step}"
            return _whole(why, why)
        try:
            m, x_ = upgrade(values[0], values[1])
        except Exception as error:  # user code: what it raises makes this one row undecodable
            return _raised(task, step, error)
        values = [m, x_]
    return _written(task, values[0], values[1], part)


def _raised(task: AnyTask, step: int, error: Exception) -> RowFault:
    kind = type(error).__name__
    bare = f"the upgrade from version {step} failed: {kind}"
    return _whole(bare if _is_discreet(task) else f"{bare}: {legible(error)}", bare)


def _written(task: AnyTask, m: Json, x: Json, part: str) -> tuple[JsonText, JsonText] | RowFault:
    texts: list[JsonText] = []
    for name, value in ((METADATA, m), (part, x)):
        # The task's own limit is for what comes in: what is stored already must stay readable when it is lowered.
        match to_json_text(value, bytes_max=PAYLOAD_BYTES_LIMIT):
            case Success(text):
                texts.append(text)
            case refused:
                told = refused.failure()
                bare = "is not JSON after the upgrade"
                path = "$" if _is_discreet(task) else told.path
                return RowFault(f"upgraded {name}", Fault(path, "$", bare if _is_discreet(task) else told.reason, bare))
    return texts[0], texts[1]


def _whole(reason: str, problem: str) -> RowFault:
    return RowFault("", Fault("$", "$", reason, problem))


def _is_discreet(task: AnyTask) -> bool:
    return task.codec.metadata.has_secrets or task.codec.execution_metadata.has_secrets
