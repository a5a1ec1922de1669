"""What fires again and again, in a SQLite file. Who writes is alone, so nobody else looks meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Final, final

from milepost.clock import from_micros, to_micros
from milepost.schedules.standing import ScheduleState
from milepost.stores.flow_tables import ScheduleRow
from milepost.stores.protocol import Hint
from milepost.stores.sqlite.driver import Connection, Row
from milepost.stores.sqlite.moments import micros_of, moment_of
from milepost.stores.sqlite.statements import statement

_ALL: Final = statement("schedules")
_GET: Final = statement("schedules_of")
_INSERT: Final = statement("insert_schedule")
_WRITE: Final = statement("write_schedule")
_DELETE: Final = statement("delete_schedules")
_DUE: Final = statement("due_schedules")
_NEXT_DUE: Final = statement("next_due_schedule")
_WAKE: Final = statement("wake_schedules")


@final
class SqliteSchedules:
    """The `ScheduleTable` of one transaction; `begin` makes sure that it is one that writes."""

    def __init__(self, database: Connection, *, begin: Callable[[], None], hint: Callable[[Hint], None]) -> None:
        self._database = database
        self._begin = begin
        self._hint = hint

    def get(self, keys: Collection[str]) -> dict[str, ScheduleRow]:
        rows = map(_schedule_of, self._database.execute(_GET, (json.dumps([*keys]),)))
        return {row.key: row for row in rows}

    def all(self) -> list[ScheduleRow]:
        return [_schedule_of(row) for row in self._database.execute(_ALL)]

    def insert(self, row: ScheduleRow) -> bool:
        return self._put(_INSERT, (*_values_of(row), row.key, row.revision))

    def write(self, row: ScheduleRow) -> bool:
        return self._put(_WRITE, (*_values_of(row), row.key, row.revision))

    def delete(self, keys: Sequence[str]) -> list[str]:
        deleted = [key for (key,) in self._database.execute(_DELETE, (json.dumps(keys),))]
        self._begin()
        return deleted

    def due(self, *, now: datetime, limit: int) -> list[ScheduleRow]:
        return [_schedule_of(row) for row in self._database.execute(_DUE, (to_micros(now), max(0, limit)))]

    def next_due(self) -> datetime | None:
        ((earliest,),) = self._database.execute(_NEXT_DUE)
        return moment_of(earliest)

    def wake(self, keys: Sequence[str], *, now: datetime) -> None:
        self._put(_WAKE, (to_micros(now), json.dumps(keys)))

    def _put(self, sql: str, values: tuple[object, ...]) -> bool:
        was_put = bool(self._database.execute(sql, values))
        self._begin()
        if was_put:
            self._hint(Hint.DUE)
        return was_put


def _values_of(row: ScheduleRow) -> tuple[object, ...]:
    """What `insert_schedule.sql` and `write_schedule.sql` want first."""
    state = row.state
    return (
        row.name,
        row.terms_json,
        row.request_json,
        to_micros(state.counted_from),
        to_micros(state.handled_until),
        micros_of(state.next_at),
        micros_of(state.first_at),
        micros_of(state.queued_at),
        micros_of(state.paused_at),
        state.runs,
        state.skipped,
        row.latest_task,
        micros_of(row.due_at),
        row.errors,
        row.error,
    )


def _schedule_of(values: Row) -> ScheduleRow:
    name, terms, request, counted_from, handled_until, *moments, runs, skipped = values[:11]
    latest, due_at, errors, error, key, revision = values[11:]
    next_at, first_at, queued_at, paused_at = map(moment_of, moments)
    state = ScheduleState(
        counted_from=from_micros(counted_from),
        handled_until=from_micros(handled_until),
        next_at=next_at,
        first_at=first_at,
        queued_at=queued_at,
        paused_at=paused_at,
        runs=runs,
        skipped=skipped,
    )
    return ScheduleRow(
        key=key,
        name=name,
        terms_json=terms,
        request_json=request,
        state=state,
        latest_task=latest,
        due_at=moment_of(due_at),
        errors=errors,
        error=error,
        revision=revision,
    )
