"""A `TaskFilter` as the conditions of a select, and the SQL functions that these conditions need."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import lru_cache
from typing import TypeAlias

from returns.result import Success

from milepost.clock import to_micros
from milepost.lifecycle.states import TaskState
from milepost.payload import JsonText, contains, from_json_text
from milepost.stores.filter import TaskFilter, TaskOrder
from milepost.stores.sqlite.driver import Connection
from milepost.stores.sqlite.fields import field_conditions
from milepost.stores.text_search import NOTHING, pattern_of, stands_in

Condition: TypeAlias = tuple[str, tuple[object, ...]]

CONTAINS = "milepost_contains"
STANDS_IN = "milepost_stands_in"
_SEARCHED = "crash, name, key, correlation, metadata_json, execution_metadata_json, error_json"
_PARTS_KEPT = 64
_NO_LIMIT = 1 << 62
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


def ids_of(wanted: TaskFilter) -> tuple[str, tuple[object, ...]]:
    """The select of the ids of all records that match, and its parameters."""
    sql, parameters = search_of(wanted, _NO_LIMIT)
    return f"select id from ({sql})", parameters


def count_of(wanted: TaskFilter) -> tuple[str, tuple[object, ...]]:
    """The count of all records that match, and its parameters."""
    where, parameters = _where(_conditions(wanted))
    return f"select count(*) from milepost_task{where}", parameters


def define_functions(connection: Connection) -> None:
    """Make known to SQL what it has no words for, `payload.contains` and `text_search.stands_in`.

    Damaged JSON contains nothing, and is searched for texts as the text that it is.
    """
    part_of = lru_cache(_PARTS_KEPT)(from_json_text)  # a query asks about one part again and again

    def milepost_contains(whole: object, part: object) -> int:
        if not isinstance(whole, str) or not isinstance(part, str):
            return 0
        match from_json_text(whole), part_of(part):
            case Success(have), Success(want):
                return int(contains(have, want))
            case _:
                return 0

    def milepost_stands_in(crash: object, *texts_and_pattern: object) -> int:
        *texts, pattern = (value if isinstance(value, str) else None for value in texts_and_pattern)
        return int(stands_in(pattern or NOTHING, crash if isinstance(crash, str) else None, *texts))

    connection.define(CONTAINS, 2, milepost_contains)
    connection.define(STANDS_IN, 8, milepost_stands_in)


def knows_functions(connection: Connection) -> bool:
    """Whether they were defined there before: defining them again fails while a statement is running."""
    return bool(connection.execute("select 1 from pragma_function_list where name = ?", (STANDS_IN,)))


def _conditions(wanted: TaskFilter) -> Iterator[Condition]:
    yield from _any_of("id", wanted.ids)
    yield from _any_of("name", wanted.names)
    yield from _state(wanted.states)
    yield from _any_of("queue", wanted.queues)
    yield from _any_of("key", wanted.keys)
    yield from _any_of("correlation", wanted.correlations)
    yield from _any_of("parent", wanted.parents)
    yield from _any_of("schedule", wanted.schedules)
    yield from _within("created_at", wanted.created_from, wanted.created_before)
    yield from _within("due_at", wanted.due_from, wanted.due_before)
    yield from _within("finished_at", wanted.finished_from, wanted.finished_before)
    # Last: payloads are read only of rows that everything cheaper has let through.
    yield from _contains("metadata_json", wanted.metadata)
    yield from _contains("execution_metadata_json", wanted.execution_metadata)
    if wanted.texts is not None:
        yield f"{STANDS_IN}({_SEARCHED}, ?)", (pattern_of(wanted.texts),)


def _state(states: tuple[TaskState, ...] | None) -> Iterator[Condition]:
    if states is None:
        return
    yield from _any_of("state", tuple(state.value for state in states))
    # Each says again what the states imply already, in the words of a partial index, so that it can be used.
    if states and not _BUSY_STATES & set(states):
        yield "state <> 'pending' and state <> 'running' and state <> 'completed'", ()
    elif set(states) == {TaskState.RUNNING}:
        yield "executor is not null", ()


def _contains(column: str, parts: tuple[JsonText, ...]) -> Iterator[Condition]:
    for part in parts:
        yield from field_conditions(column, part)
        yield f"{CONTAINS}({column}, ?)", (part,)


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
