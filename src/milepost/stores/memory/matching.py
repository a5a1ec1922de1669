"""A `TaskFilter` as a plain predicate on records."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from returns.result import Success

from milepost.lifecycle.record import TaskRecord
from milepost.payload import Json, JsonText, contains, from_json_text
from milepost.stores.filter import TaskFilter
from milepost.stores.text_search import pattern_of, stands_in


def matcher(wanted: TaskFilter) -> Callable[[TaskRecord], bool]:
    """Whether a record meets every condition but the cursor."""
    ids, names, states = _any_of(wanted.ids), _any_of(wanted.names), _any_of(wanted.states)
    queues, keys, correlations = _any_of(wanted.queues), _any_of(wanted.keys), _any_of(wanted.correlations)
    parents, schedules = _any_of(wanted.parents), _any_of(wanted.schedules)
    pattern = None if wanted.texts is None else pattern_of(wanted.texts)
    metadata = tuple(_parsed(text) for text in wanted.metadata)
    execution_metadata = tuple(_parsed(text) for text in wanted.execution_metadata)

    def matches(record: TaskRecord) -> bool:
        # Payloads are parsed last: only for the records that everything cheaper has let through.
        return (
            _is_any(record.id, ids)
            and _is_any(record.name, names)
            and _is_any(record.state, states)
            and _is_any(record.queue, queues)
            and _is_any(record.key, keys)
            and _is_any(record.correlation, correlations)
            and _is_any(record.parent, parents)
            and _is_any(record.schedule, schedules)
            and _is_within(record.created_at, wanted.created_from, wanted.created_before)
            and _is_within(record.due_at, wanted.due_from, wanted.due_before)
            and _is_within(record.finished_at, wanted.finished_from, wanted.finished_before)
            and (pattern is None or _mentions(record, pattern))
            and _holds(record.metadata_json, metadata)
            and _holds(record.execution_metadata_json, execution_metadata)
        )

    return matches


def _any_of(values: tuple[object, ...] | None) -> frozenset[object] | None:
    return None if values is None else frozenset(values)


def _is_any(value: object, values: frozenset[object] | None) -> bool:
    return values is None or value in values


def _mentions(record: TaskRecord, pattern: str) -> bool:
    payloads = record.metadata_json, record.execution_metadata_json, record.error_json
    crash = None if record.crash is None else record.crash.to_json_text()
    return stands_in(pattern, crash, record.name, record.key, record.correlation, *payloads)


def _is_within(moment: datetime | None, start: datetime | None, end: datetime | None) -> bool:
    if start is None and end is None:
        return True
    return moment is not None and (start is None or start <= moment) and (end is None or moment < end)


def _holds(text: JsonText, parts: tuple[Json, ...]) -> bool:
    if not parts:
        return True
    match from_json_text(text):
        case Success(whole):
            return all(contains(whole, part) for part in parts)
        case _:
            return False


def _parsed(text: JsonText) -> Json:
    return from_json_text(text).unwrap()
