"""What has ended in the memory store, for those who remove it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import final

from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.stores.memory.tables import Tables
from milepost.stores.tables import EndedPage, EndedTask


@final
class MemoryEnds:
    """The `EndTable` of one transaction, which has the tables for itself. `delete` is the session's."""

    def __init__(self, tables: Callable[[], Tables], delete: Callable[[Sequence[TaskId]], int]) -> None:
        self._tables = tables
        self._delete = delete

    def walk(
        self, ended_before: Mapping[TaskState, datetime], *, after: TaskId | None, walked_max: int, limit: int
    ) -> EndedPage:
        tables = self._tables()
        if not ended_before or limit <= 0:
            return EndedPage((), None)
        start = 0 if after is None else bisect_right(tables.ids, after)
        walked = [tables.rows[id].record for id in tables.ids[start : start + walked_max]]
        found = [_ended(record) for record in walked if _is_old(record, ended_before)]
        if len(found) > limit:
            return EndedPage(tuple(found[:limit]), found[limit - 1].id)
        is_over = len(walked) < walked_max or max(each.created_at for each in walked) >= max(ended_before.values())
        return EndedPage(tuple(found), None if is_over else walked[-1].id)

    def remove(self, tasks: Sequence[EndedTask]) -> list[TaskId]:
        rows = self._tables().rows
        unchanged = [each.id for each in tasks if each.id in rows and _ended(rows[each.id].record) == each]
        self._delete(unchanged)
        return unchanged

    def is_only_one(self) -> bool:
        return True


def _is_old(record: TaskRecord, ended_before: Mapping[TaskState, datetime]) -> bool:
    before = ended_before.get(record.state)
    return before is not None and record.finished_at is not None and record.finished_at < before


def _ended(record: TaskRecord) -> EndedTask:
    return EndedTask(record.id, record.state, record.finished_at or record.created_at, record.revision)
