"""Which tasks are meant, as a plain value that every store understands: the untyped twin of `TaskQuery`."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import final

from attrs import frozen

from milepost.lifecycle.record import TaskId
from milepost.lifecycle.states import TaskState
from milepost.payload import JsonText


class TaskOrder(Enum):
    """How a page of tasks is ordered. Ids are time-ordered, so this is by age."""

    OLDEST_FIRST = "oldest first"
    NEWEST_FIRST = "newest first"


@final
@frozen(kw_only=True)
class TaskFilter:
    """Every given condition must hold; a tuple means any of its values, None means no condition.

    `metadata` and `execution_metadata` are JSON texts that must be contained in the task's (`payload.contains`).
    Ranges include their lower and exclude their upper end. `cursor` is the last id of the page before.
    """

    ids: tuple[TaskId, ...] | None = None
    names: tuple[str, ...] | None = None
    states: tuple[TaskState, ...] | None = None
    queues: tuple[str, ...] | None = None
    keys: tuple[str, ...] | None = None
    correlations: tuple[str, ...] | None = None
    metadata: tuple[JsonText, ...] = ()
    execution_metadata: tuple[JsonText, ...] = ()
    created_from: datetime | None = None
    created_before: datetime | None = None
    due_from: datetime | None = None
    due_before: datetime | None = None
    order: TaskOrder = TaskOrder.OLDEST_FIRST
    cursor: TaskId | None = None
