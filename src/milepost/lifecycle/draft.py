"""A request, encoded and checked: everything of a new record but the time at which it enters the store."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple, final

from milepost.clock import later
from milepost.lifecycle.joining import waiting
from milepost.lifecycle.record import Audit, TaskId, TaskRecord, deadline_from
from milepost.lifecycle.ties import Join
from milepost.payload import JsonText


class OnConflict(Enum):
    """What `with_key` asks for when a live task of the same name holds the key."""

    KEEP = "keep"
    REPLACE = "replace"
    REJECT = "reject"


@final
class Draft(NamedTuple):
    """A task to be: what it has in common with all of its name, what is its own, and what its enqueueing must know.

    `start` is when it may run first: an instant, a delay from its enqueueing, or None for at once; it must start within
    `start_within_seconds` from then on. `replays` says that its id was given to it, so that it may be there already.
    `limit_keys` are its keys of rate and concurrency. `parent` and `parent_position` say whose result enqueues it, and
    at which place. With `waits_for`, ids of other drafts of the same call, it is inserted suspended until those have
    ended, under `join`; none: it is due at once. `schedule` enqueues it, for its instant `schedule_at`.

    A tuple, because these wait in great numbers until they are inserted.
    """

    blank: TaskRecord
    id: TaskId
    metadata_json: JsonText
    execution_metadata_json: JsonText
    queue: str
    priority: int
    audit: Audit
    key: str | None = None
    correlation: str | None = None
    on_conflict: OnConflict = OnConflict.KEEP
    start: datetime | timedelta | None = None
    start_within_seconds: float | None = None
    replays: bool = False
    limit_keys: tuple[str | None, str | None] = (None, None)
    parent: TaskId | None = None
    parent_position: str | None = None
    waits_for: tuple[TaskId, ...] | None = None
    join: Join | None = None
    schedule: str | None = None
    schedule_at: datetime | None = None

    @property
    def name(self) -> str:
        """The task's name."""
        return self.blank.name

    def record(self, now: datetime) -> TaskRecord:
        """The record that this draft becomes when it is enqueued at `now`; a start in the past means at once.

        With a join it waits for others, until it is looked whether there are any.
        """
        match self.start:
            case None:
                due_at = now
            case timedelta():
                due_at = later(now, self.start)
            case moment:
                due_at = max(moment, now)
        fields = self.blank.__dict__.copy()  # as in `TaskRecord.changed`, without a second dict for so many changes
        fields["id"] = self.id
        fields["queue"] = self.queue
        fields["priority"] = self.priority
        fields["key"] = self.key
        fields["correlation"] = self.correlation
        fields["audit"] = self.audit
        fields["due_at"] = due_at
        fields["metadata_json"] = self.metadata_json
        fields["execution_metadata_json"] = self.execution_metadata_json
        fields["initial_execution_metadata_json"] = self.execution_metadata_json
        fields["deadline_at"] = deadline_from(now, self.blank.deadline_seconds)
        fields["start_by"] = deadline_from(due_at, self.start_within_seconds)
        fields["rate_key"], fields["concurrency_key"] = self.limit_keys
        fields["created_at"] = now
        if self.parent is not None:
            fields["parent"], fields["parent_position"] = self.parent, self.parent_position
        if self.schedule is not None:
            fields["schedule"], fields["schedule_at"] = self.schedule, self.schedule_at
        record = TaskRecord.restored(fields)
        return record if self.join is None else waiting(record, self.join)
