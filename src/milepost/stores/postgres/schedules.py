"""What fires again and again, in PostgreSQL.

**Locks.** Whoever fires locks the rows that are due, and then the tasks that these have enqueued last, past whatever
somebody else is at: it waits for nobody. Who ends such a task has locked that first and waits for the row of its
schedule (`wake`), so that what is queued behind the task is seen, whichever of the two comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any, TypeAlias, cast, final

from milepost.lifecycle.record import TaskId
from milepost.schedules.standing import ScheduleState
from milepost.stores.flow_tables import ScheduleRow
from milepost.stores.postgres.arrays import texts
from milepost.stores.protocol import Hint

Row: TypeAlias = tuple[Any, ...]


@final
class PostgresSchedules:
    """The `ScheduleTable` of one transaction; `query` runs a statement by its name."""

    def __init__(self, query: Callable[..., list[Row]], *, hint: Callable[[Hint], None]) -> None:
        self._query = query
        self._hint = hint

    def get(self, keys: Collection[str]) -> dict[str, ScheduleRow]:
        rows = map(_schedule_of, self._query("schedules_of", texts([*keys])) if keys else ())
        return {row.key: row for row in rows}

    def all(self) -> list[ScheduleRow]:
        return [_schedule_of(row) for row in self._query("schedules")]

    def insert(self, row: ScheduleRow) -> bool:
        return self._hinting(self._query("insert_schedule", *_values_of(row)))

    def write(self, row: ScheduleRow) -> bool:
        return self._hinting(self._query("write_schedule", *_values_of(row)))

    def delete(self, keys: Sequence[str]) -> list[str]:
        return [key for (key,) in self._query("delete_schedules", texts(keys))] if keys else []

    def due(self, *, now: datetime, limit: int) -> list[ScheduleRow]:
        due = [_schedule_of(row) for row in self._query("due_schedules", now, max(0, limit))]
        busy = self._busy({row.latest_task for row in due if row.latest_task is not None})
        return [row for row in due if row.latest_task not in busy]

    def next_due(self) -> datetime | None:
        ((earliest,),) = self._query("next_due_schedule")
        return cast("datetime | None", earliest)

    def wake(self, keys: Sequence[str], *, now: datetime) -> None:
        if keys:
            self._hinting(self._query("wake_schedules", texts(keys), now))

    def _busy(self, tasks: Collection[TaskId]) -> set[TaskId]:
        """Those of the tasks that somebody else is at; the others are locked."""
        if not tasks:
            return set()
        locked = {id for (id,) in self._query("lock_free_tasks", texts([*tasks]))}
        left = [id for id in tasks if id not in locked]
        return {TaskId(id) for (id,) in self._query("task_ids", texts(left))} if left else set()

    def _hinting(self, written: Sequence[Row]) -> bool:
        if written:
            self._hint(Hint.DUE)
        return bool(written)


def _values_of(row: ScheduleRow) -> tuple[object, ...]:
    """What `insert_schedule.sql` and `write_schedule.sql` want."""
    state = row.state
    return (
        row.key,
        row.revision,
        row.name,
        row.terms_json,
        row.request_json,
        state.counted_from,
        state.handled_until,
        state.next_at,
        state.first_at,
        state.queued_at,
        state.paused_at,
        state.runs,
        state.skipped,
        row.latest_task,
        row.due_at,
        row.errors,
        row.error,
    )


def _schedule_of(values: Row) -> ScheduleRow:
    key, revision, name, terms, request, *standing, latest, due_at, errors, error = values
    counted_from, handled_until, next_at, first_at, queued_at, paused_at, runs, skipped = standing
    state = ScheduleState(
        counted_from=counted_from,
        handled_until=handled_until,
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
        due_at=due_at,
        errors=errors,
        error=error,
        revision=revision,
    )
