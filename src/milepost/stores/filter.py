"""Which tasks are meant, as a plain value that every store understands: the untyped twin of `TaskQuery`."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import cast, final

from attrs import field, frozen

from milepost.lifecycle.record import TaskId
from milepost.lifecycle.states import TaskState
from milepost.payload import JsonText, storable_text


class TaskOrder(Enum):
    """How a page of tasks is ordered. Ids are time-ordered, so this is by age."""

    OLDEST_FIRST = "oldest first"
    NEWEST_FIRST = "newest first"


def _findable(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Those that a task can have: text with NUL or half a surrogate pair is in no store, and no database takes it."""
    whole = "".join(values or ())
    if values is None or (whole.isascii() and "\0" not in whole):
        return values
    return tuple(value for value in values if storable_text(value) == value)


def _findable_ids(values: tuple[TaskId, ...] | None) -> tuple[TaskId, ...] | None:
    return cast("tuple[TaskId, ...] | None", _findable(values))


@final
@frozen(kw_only=True)
class TaskFilter:
    """Every given condition must hold; a tuple means any of its values, None means no condition.

    `metadata` and `execution_metadata` are JSON texts that must be contained in the task's (`payload.contains`), one of
    `texts` must stand somewhere in it (`stores.text_search`). Ranges include their lower and exclude their upper end.
    `cursor` is the last id of the page before.
    """

    ids: tuple[TaskId, ...] | None = field(default=None, converter=_findable_ids)
    names: tuple[str, ...] | None = field(default=None, converter=_findable)
    states: tuple[TaskState, ...] | None = None
    queues: tuple[str, ...] | None = field(default=None, converter=_findable)
    keys: tuple[str, ...] | None = field(default=None, converter=_findable)
    correlations: tuple[str, ...] | None = field(default=None, converter=_findable)
    parents: tuple[TaskId, ...] | None = field(default=None, converter=_findable_ids)
    schedules: tuple[str, ...] | None = field(default=None, converter=_findable)
    texts: tuple[str, ...] | None = field(default=None, converter=_findable)
    metadata: tuple[JsonText, ...] = field(default=(), repr=False)
    execution_metadata: tuple[JsonText, ...] = field(default=(), repr=False)
    created_from: datetime | None = None
    created_before: datetime | None = None
    due_from: datetime | None = None
    due_before: datetime | None = None
    finished_from: datetime | None = None
    finished_before: datetime | None = None
    order: TaskOrder = TaskOrder.OLDEST_FIRST
    cursor: TaskId | None = None

    @property
    def reads_payloads(self) -> bool:
        """Whether it asks for what stands in payloads, which most rows must be read for."""
        return bool(self.metadata or self.execution_metadata) or self.texts is not None
