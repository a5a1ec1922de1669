"""A `TaskFilter` as the conditions of a select."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from milepost.lifecycle.states import TaskState
from milepost.payload import JsonText
from milepost.stores.filter import TaskFilter, TaskOrder
from milepost.stores.postgres.arrays import texts
from milepost.stores.text_search import pattern_of

_BUSY_STATES: Final = frozenset({TaskState.PENDING, TaskState.RUNNING, TaskState.COMPLETED})
_SEARCHED: Final = (
    "name",
    "key",
    "correlation",
    'metadata_json::text collate "C"',
    'execution_metadata_json::text collate "C"',
    'error_json::text collate "C"',
    "(crash->>'type_name') collate \"C\"",
    "(crash->>'message') collate \"C\"",
)
_STANDS_IN: Final = f"({' or '.join(f'{text} ~ {{0}}' for text in _SEARCHED)})"
_NO_LIMIT: Final = 1 << 62


def search_of(wanted: TaskFilter, limit: int) -> tuple[str, list[object]]:
    """The select of a page of records and its parameters."""
    newest_first = wanted.order is TaskOrder.NEWEST_FIRST
    conditions = _Conditions(wanted)
    if wanted.cursor is not None:
        conditions.add(f"id {'<' if newest_first else '>'} {{}}", wanted.cursor)
    order = f"order by id {'desc' if newest_first else 'asc'} limit {max(0, limit)}"
    return f"select {{record}} from {{schema}}.milepost_task as task{conditions.where} {order}", conditions.parameters


def ids_of(wanted: TaskFilter) -> tuple[str, list[object]]:
    """The select of the ids of all records that match, and its parameters."""
    sql, parameters = search_of(wanted, _NO_LIMIT)
    return f"select id from ({sql}) as found", parameters


def count_of(wanted: TaskFilter) -> tuple[str, list[object]]:
    """The count of all records that match, and its parameters."""
    conditions = _Conditions(wanted)
    return f"select count(*) from {{schema}}.milepost_task{conditions.where}", conditions.parameters


class _Conditions:
    """Conditions that must all hold, with a numbered parameter in each."""

    def __init__(self, wanted: TaskFilter) -> None:
        self._texts: list[str] = []
        self.parameters: list[object] = []
        self._any_of("id", wanted.ids)
        self._any_of("name", wanted.names)
        self._state(wanted.states)
        self._any_of("queue", wanted.queues)
        self._any_of("key", wanted.keys)
        self._any_of("correlation", wanted.correlations)
        self._any_of("parent", wanted.parents)
        self._any_of("schedule", wanted.schedules)
        self._within("created_at", wanted.created_from, wanted.created_before)
        self._within("due_at", wanted.due_from, wanted.due_before)
        self._within("finished_at", wanted.finished_from, wanted.finished_before)
        for column, parts in (
            ("metadata_json", wanted.metadata),
            ("execution_metadata_json", wanted.execution_metadata),
        ):
            for part in parts:
                self._contains(column, part)
        if wanted.texts is not None:
            self.add(_STANDS_IN, pattern_of(wanted.texts))

    @property
    def where(self) -> str:
        return f" where {' and '.join(self._texts)}" if self._texts else ""

    def add(self, condition: str, *parameters: object) -> None:
        """A condition with `{}` where its parameter belongs, or `{0}` in several places."""
        self.parameters += parameters
        self._texts.append(condition.format(f"${len(self.parameters)}"))

    def _any_of(self, column: str, values: tuple[str, ...] | None) -> None:
        if values is None:
            return
        if len(values) == 1:
            self.add(f"{column} = {{}}", values[0])
        else:
            self.add(f"{column} = any ({{}}::text[])", texts(values))

    def _state(self, states: tuple[TaskState, ...] | None) -> None:
        if states is None:
            return
        self._any_of("state", tuple(state.value for state in states))
        # Each says again what the states imply already, in the words of a partial index, so that it can be used.
        if states and not _BUSY_STATES & set(states):
            self.add("state <> 'pending' and state <> 'running' and state <> 'completed'")
        elif set(states) == {TaskState.RUNNING}:
            self.add("executor is not null")

    def _within(self, column: str, start: datetime | None, end: datetime | None) -> None:
        if start is not None:
            self.add(f"{column} >= {{}}", start)
        if end is not None:
            self.add(f"{column} < {{}}", end)

    def _contains(self, column: str, part: JsonText) -> None:
        # PostgreSQL lets a lone scalar be contained in an array, `payload.contains` does not.
        is_scalar = part[:1] not in ("{", "[")
        self.add(f"{column}::jsonb @> {{}}::jsonb", part)
        if is_scalar:
            self.add(f"json_typeof({column}) <> 'array'")
