"""What has ended in an SQLite store, for those who remove it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, final

from milepost.clock import from_micros, to_micros
from milepost.lifecycle.record import TaskId
from milepost.lifecycle.states import TaskState
from milepost.stores.sqlite.driver import Connection
from milepost.stores.sqlite.statements import statement
from milepost.stores.tables import EndedPage, EndedTask

_WALK: Final = statement("walk_ends")
_ENDS: Final = statement("ends")
_DELETE: Final = statement("delete_ended")


@final
class SqliteEnds:
    """The `EndTable` of one transaction. `deleted` is told which tasks were removed."""

    def __init__(self, database: Callable[[], Connection], deleted: Callable[[Sequence[TaskId]], None]) -> None:
        self._database = database
        self._deleted = deleted

    def walk(
        self, ended_before: Mapping[TaskState, datetime], *, after: TaskId | None, walked_max: int, limit: int
    ) -> EndedPage:
        database = self._database()
        ((until, newest, walked),) = database.execute(_WALK, (after or "", walked_max))
        if until is None or not ended_before or limit <= 0:
            return EndedPage((), None)
        wanted = {"after": after or "", "until": until, "limit": limit + 1}
        times = {state.value: None if time is None else to_micros(time) for state, time in _times(ended_before)}
        found = [
            EndedTask(TaskId(id), TaskState(state), from_micros(at), revision)
            for id, state, at, revision in database.execute(_ENDS, {**wanted, **times})
        ]
        if len(found) > limit:
            return EndedPage(tuple(found[:limit]), found[limit - 1].id)
        is_over = walked < walked_max or newest >= to_micros(max(ended_before.values()))
        return EndedPage(tuple(found), None if is_over else TaskId(until))

    def remove(self, tasks: Sequence[EndedTask]) -> list[TaskId]:
        removed = self._database().each_changed((_DELETE, (each.id, each.revision)) for each in tasks)
        ids = [each.id for each, was_removed in zip(tasks, removed, strict=True) if was_removed]
        if ids:
            self._deleted(ids)
        return ids

    def is_only_one(self) -> bool:
        return True  # the file has one writer


def _times(ended_before: Mapping[TaskState, datetime]) -> list[tuple[TaskState, datetime | None]]:
    return [(state, ended_before.get(state)) for state in (TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED)]
