"""A request, encoded and checked: everything of a new record but the time at which it enters the store."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum
from typing import final

from attrs import frozen

from milepost.clock import EPOCH, later
from milepost.lifecycle.record import Audit, TaskId, TaskRecord, deadline_from
from milepost.payload import JsonText


class OnConflict(Enum):
    """What `with_key` asks for when a live task of the same name holds the key."""

    KEEP = "keep"
    REPLACE = "replace"
    REJECT = "reject"


@final
@frozen(kw_only=True)
class Draft:
    """A task to be. `start` is when it may run first: an instant, a delay from its enqueueing, or None for at once."""

    id: TaskId
    name: str
    version: int
    queue: str
    priority: int
    metadata_json: JsonText
    execution_metadata_json: JsonText
    key: str | None = None
    on_conflict: OnConflict = OnConflict.KEEP
    correlation: str | None = None
    audit: Audit = Audit.TRANSITIONS
    start: datetime | timedelta | None = None
    deadline_seconds: float | None = None

    def record(self, now: datetime) -> TaskRecord:
        """The record that this draft becomes when it is enqueued at `now`; a start in the past means at once."""
        match self.start:
            case None:
                due_at = now
            case timedelta():
                due_at = later(now, self.start)
            case moment:
                due_at = max(moment, now)
        return _FRESH.changed(
            {
                "id": self.id,
                "name": self.name,
                "version": self.version,
                "queue": self.queue,
                "priority": self.priority,
                "key": self.key,
                "correlation": self.correlation,
                "audit": self.audit,
                "due_at": due_at,
                "metadata_json": self.metadata_json,
                "execution_metadata_json": self.execution_metadata_json,
                "initial_execution_metadata_json": self.execution_metadata_json,
                "deadline_seconds": self.deadline_seconds,
                "deadline_at": deadline_from(now, self.deadline_seconds),
                "created_at": now,
            }
        )


# What every new record has in common; a copy with changes takes half as long as a record from all its fields.
_FRESH = TaskRecord(id=TaskId(""), name="", created_at=EPOCH)
