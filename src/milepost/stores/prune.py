"""The steps of a walk that removes what nobody wants to keep: look at some tasks, remove a batch of them, go on.

Looking only reads, and walks the tasks by their ids, so no index is kept for it that every end of a task would pay for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from milepost.lifecycle.record import TaskId
from milepost.lifecycle.retention import PruneSummary, Retention
from milepost.lifecycle.states import TaskState
from milepost.stores.protocol import Session
from milepost.stores.tables import EndedPage, EndedTask

_WALKED_PER_TASK: Final = 10
"""How many tasks one step looks at for each that it may remove."""


def look(session: Session, retention: Retention, *, after: TaskId | None, now: datetime) -> EndedPage:
    """One step of the walk: tasks that ended long enough before `now`, and where to go on."""
    ended_before = retention.ended_before(now)
    if not ended_before:
        return EndedPage((), None)
    walked_max = _WALKED_PER_TASK * retention.batch
    return session.ends.walk(ended_before, after=after, walked_max=walked_max, limit=retention.batch)


def remove(session: Session, tasks: Sequence[EndedTask]) -> PruneSummary:
    """Remove those of `tasks` that still are as they were found."""
    removed = frozenset(session.ends.remove(tasks))
    counts = Counter(task.state for task in tasks if task.id in removed)
    return PruneSummary(
        completed=counts[TaskState.COMPLETED], cancelled=counts[TaskState.CANCELLED], failed=counts[TaskState.FAILED]
    )


def remove_unless_busy(session: Session, tasks: Sequence[EndedTask]) -> PruneSummary | None:
    """`remove`, unless somebody else is at it: None."""
    return remove(session, tasks) if session.ends.is_only_one() else None


def remove_lines(session: Session, retention: Retention, *, now: datetime) -> PruneSummary:
    """Remove a batch of lines that were logged long enough before `now`."""
    before = retention.logged_before(now)
    return PruneSummary(logs=0 if before is None else session.logs.prune(before=before, limit=retention.batch))


def remove_lines_unless_busy(session: Session, retention: Retention) -> PruneSummary | None:
    """`remove_lines` as of now, unless somebody else is at it: None."""
    return remove_lines(session, retention, now=session.now()) if session.ends.is_only_one() else None
