"""What has ended in a PostgreSQL store, for those who remove it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, final
from zlib import crc32

from milepost.lifecycle.record import TaskId
from milepost.lifecycle.states import TaskState
from milepost.stores.postgres.arrays import numbers, texts
from milepost.stores.tables import EndedPage, EndedTask

_STATES: Final = (TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED)


@final
class PostgresEnds:
    """The `EndTable` of one transaction. `query` runs a statement by its name, `deleted` is told of removed tasks."""

    def __init__(self, query: Callable[..., list[tuple[Any, ...]]], schema: str, deleted: Callable[[], None]) -> None:
        self._query = query
        self._schema = schema
        self._deleted = deleted

    def walk(
        self, ended_before: Mapping[TaskState, datetime], *, after: TaskId | None, walked_max: int, limit: int
    ) -> EndedPage:
        ((until, newest, walked),) = self._query("walk_ends", after or "", walked_max)
        if until is None or not ended_before or limit <= 0:
            return EndedPage((), None)
        times = [ended_before.get(state) for state in _STATES]
        found = [
            EndedTask(TaskId(id), TaskState(state), at, revision)
            for id, state, at, revision in self._query("ends", after or "", until, *times, limit + 1)
        ]
        if len(found) > limit:
            return EndedPage(tuple(found[:limit]), found[limit - 1].id)
        is_over = walked < walked_max or newest >= max(ended_before.values())
        return EndedPage(tuple(found), None if is_over else TaskId(until))

    def remove(self, tasks: Sequence[EndedTask]) -> list[TaskId]:
        if not tasks:
            return []
        ids, revisions = texts([each.id for each in tasks]), numbers([each.revision for each in tasks])
        removed = {id for (id,) in self._query("delete_ended", ids, revisions)}
        if removed:
            self._deleted()
        return [each.id for each in tasks if each.id in removed]

    def is_only_one(self) -> bool:
        # Two numbers as for keys, and another space than theirs: the first one is the schema's, under another word.
        ((is_locked,),) = self._query("only_one", crc32(f"milepost pruning of {self._schema}".encode()) - (1 << 31), 0)
        return bool(is_locked)
