"""A `TaskFilter` as the conditions of a select, and the SQL function for JSON that is contained in JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import lru_cache
from typing import TypeAlias

from returns.result import Success

from milepost.clock import to_micros
from milepost.lifecycle.states import TaskState
from milepost.payload import contains, from_json_text
from milepost.stores.filter import TaskFilter, TaskOrder
from milepost.stores.sqlite.driver import Connection

Condition: TypeAlias = tuple[str, tuple[object, ...]]

CONTAINS = "milepost_contains"
_PARTS_KEPT = 64
_BUSY_STATES = frozenset({TaskState.PENDING, TaskState.RUNNING, TaskState.COMPLETED})


def search_of(wanted: TaskFilter, limit: int) -> tuple[str, tuple[object, ...]]:
    """The select of a page of records and its parameters."""
    newest_first = wanted.order is TaskOrder.NEWEST_FIRST
    conditions = [*_conditions(wanted)]
    if wanted.cursor is not None:
        conditions.append((f"id {'<' if newest_first else '>'} ?", (wanted.cursor,)))
    where, parameters = _where(conditions)
    sql = f"select * from milepost_task{where} order by id {'desc' if newest_first else 'asc'} limit ?"
    return sql, (*parameters, max(0, limit))


def count_of(wanted: TaskFilter) -> tuple[str, tuple[object, ...]]:
    """The count of all records that match, and its parameters."""
    where, parameters = _where(_conditions(wanted))
    return f"select count(*) from milepost_task{where}", parameters


def define_contains(connection: Connection) -> None:
    """Make `payload.contains` known to SQL as `milepost_contains(whole, part)`; damaged text contains nothing."""
    part_of = lru_cache(_PARTS_KEPT)(from_json_text)  # a query asks about one part again and again

    def milepost_contains(whole: object, part: object) -> int:
        if not isinstance(whole, str) or not isinstance(part, str):
            return 0
        match from_json_text(whole), part_of(part):
            case Success(have), Success(want):
                return int(contains(have, want))
            case _:
                return 0

    connection.define(CONTAINS, 2, milepost_contains)


def knows_contains(connection: Connection) -> bool:
    """Whether it was defined there before: defining it again fails while a statement is running."""
    return bool(connection.execute("select 1 from pragma_function_list where name = ?", (CONTAINS,)))


def _conditions(wanted: TaskFilter) -> Iterator[Condition]:
    yield from _any_of("id", wanted.ids)
    yield from _any_of("name", wanted.names)
    yield from _state(wanted.states)
    yield from _any_of("queue", wanted.queues)
    yield from _any_of("key", wanted.keys)
    yield from _any_of("correlation", wanted.correlations)
    yield from _within("created_at", wanted.created_from, wanted.created_before)
    yield from _within("due_at", wanted.due_from, wanted.due_before)
    # Last: payloads are read only of rows that everything cheaper has let through.
    yield from ((f"{CONTAINS}(metadata_json, ?)", (part,)) for part in wanted.metadata)
    yield from ((f"{CONTAINS}(execution_metadata_json, ?)", (part,)) for part in wanted.execution_metadata)


def _state(states: tuple[TaskState, ...] | None) -> Iterator[Condition]:
    if states is None:
        return
    yield from _any_of("state", tuple(state.value for state in states))
    # Each says again what the states imply already, in the words of a partial index, so that it can be used.
    if states and not _BUSY_STATES & set(states):
        yield "state <> 'pending' and state <> 'running' and state <> 'completed'", ()
    elif set(states) == {TaskState.RUNNING}:
        yield "executor is not null", ()


def _any_of(column: str, values: tuple[str, ...] | None) -> Iterator[Condition]:
    if values is None:
        return
    if len(values) == 1:
        yield f"{column} = ?", values
    else:
        yield f"{column} in (select value from json_each(?))", (json.dumps(values),)


def _within(column: str, start: datetime | None, end: datetime | None) -> Iterator[Condition]:
    if start is not None:
        yield f"{column} >= ?", (to_micros(start),)
    if end is not None:
        yield f"{column} < ?", (to_micros(end),)


def _where(conditions: Iterable[Condition]) -> Condition:
    listed = tuple(conditions)
    if not listed:
        return "", ()
    texts = " and ".join(text for text, _ in listed)
    return f" where {texts}", tuple(value for _, values in listed for value in values)
