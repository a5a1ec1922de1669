"""One task as the store keeps it, and one line of its history."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum
from typing import Any, NewType, cast, final

from attrs import field, frozen

from milepost.clock import LAST_MOMENT, later
from milepost.crash import Crash
from milepost.lifecycle.states import LimitKind, TaskState
from milepost.lifecycle.ties import Join, Tie
from milepost.payload import Json, JsonText, from_json_text

TaskId = NewType("TaskId", str)
_NOTHING = JsonText("{}")


class Audit(Enum):
    """How much history is kept: commits too, each change of state, only what went wrong, or nothing."""

    FULL = "full"
    TRANSITIONS = "transitions"
    ERRORS = "errors"
    NONE = "none"


class HistoryKind(Enum):
    """What a line of history says."""

    ENQUEUED = "enqueued"
    CLAIMED = "claimed"
    RECLAIMED = "reclaimed"
    COMMITTED = "committed"
    SUSPENDED = "suspended"
    WOKEN = "woken"
    RETRY_SCHEDULED = "retry scheduled"
    INTERRUPTED = "interrupted"
    RELEASED = "released"
    LIMITED = "limited"
    CANCEL_REQUESTED = "cancel requested"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    QUARANTINED = "quarantined"
    REQUEUED = "requeued"
    PROCEEDED = "proceeded"
    PROCEED_KEPT = "proceed kept"
    PROCEED_DROPPED = "proceed dropped"


@final
@frozen
class HistoryEvent:
    """One recorded change: what, when, into which state, by which executor, in which attempt, and why.

    `by` is who asked for it, as they called themselves; empty where nobody did, or did not say.
    """

    at: datetime
    kind: HistoryKind
    state: TaskState
    attempt: int
    executor: str | None = None
    reason: str = ""
    by: str = ""


@final
@frozen(kw_only=True, slots=False)
class TaskRecord:
    """One task, whole. Payloads are canonical JSON text; `metadata`, `result` and the like read them.

    Counters: `failures` of this epoch (returned or raised, retried), `stalls` (claims since the last progress),
    `interruptions` (graceful stops that cut a run), `epoch` (1 + requeues), `sequence` (commits, never reset),
    `revision` (writes of the row), `fence` (claims and takeovers).

    `early_proceed_at` is when a proceed that came too early lets the next suspension go on; `start_by` when a task that
    has not started yet ends instead. `rate_key` and `concurrency_key` say whose share of its definition's limits it
    takes, while it waits for that share `limited_by` says which one, and `slot_at` is the start that it was given.

    `parent` is the task whose result enqueued it, `parent_position` the place of it: epoch.sequence.ordinal. `schedule`
    enqueued it for its instant `schedule_at`, which is None where somebody triggered it. `ties` say what its end must
    see to. `join` is how it takes the ends of the children that it waits for, or waited for last; `awaited_event` and
    `awaited_key` are the event that it waits for, or waited for last, and `received_json` what came with that.

    The `repr`, which ends up in logs, is without payloads.
    """

    id: TaskId
    name: str
    version: int = 1
    queue: str = "default"
    priority: int = 0
    key: str | None = None
    correlation: str | None = None
    audit: Audit = Audit.TRANSITIONS
    state: TaskState = TaskState.PENDING
    due_at: datetime | None = None
    metadata_json: JsonText = field(default=_NOTHING, repr=False)
    execution_metadata_json: JsonText = field(default=_NOTHING, repr=False)
    initial_execution_metadata_json: JsonText = field(default=_NOTHING, repr=False)
    result_json: JsonText | None = field(default=None, repr=False)
    error_json: JsonText | None = field(default=None, repr=False)
    crash: Crash | None = None
    fence: int = 0
    token: str | None = None
    executor: str | None = None
    revision: int = 0
    sequence: int = 0
    epoch: int = 1
    failures: int = 0
    stalls: int = 0
    interruptions: int = 0
    cancel_requested_at: datetime | None = None
    cancel_reason: str | None = None
    progress: float | None = None
    progress_note: str = ""
    deadline_seconds: float | None = None
    deadline_at: datetime | None = None
    early_proceed_at: datetime | None = None
    start_by: datetime | None = None
    rate_key: str | None = None
    concurrency_key: str | None = None
    limited_by: LimitKind | None = None
    slot_at: datetime | None = None
    parent: TaskId | None = None
    parent_position: str | None = None
    schedule: str | None = None
    schedule_at: datetime | None = None
    ties: Tie = Tie.NONE
    join: Join | None = None
    awaited_event: str | None = None
    awaited_key: str | None = None
    received_json: JsonText | None = field(default=None, repr=False)
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @classmethod
    def restored(cls, fields: dict[str, Any]) -> TaskRecord:
        """The record of exactly these fields, all of them, whose dict it keeps; for stores, which read very many."""
        record: TaskRecord = object.__new__(cls)
        object.__setattr__(record, "__dict__", fields)
        return record

    def changed(self, changes: dict[str, Any]) -> TaskRecord:
        """A copy with other values in some fields. Every change of every task comes through here, so it must be quick:
        without slots a copy is one dict, a twentieth of what `attrs.evolve` takes for so many fields."""
        return TaskRecord.restored(self.__dict__ | changes)

    @property
    def attempt(self) -> int:
        """1 + failures in this epoch; suspensions, interruptions and reclaims do not raise it."""
        return self.failures + 1

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for its end, which has not come yet."""
        return Tie.AWAITED in self.ties and not self.state.is_final

    @property
    def waits_for_children(self) -> bool:
        """Whether it is suspended until all children have ended."""
        return self.state is TaskState.SUSPENDED and self.join is not None

    @property
    def waits_for_event(self) -> bool:
        """Whether it is suspended until a named event, its own wake-up or a proceed lets it go on."""
        return self.awaited_event is not None and self.state is TaskState.SUSPENDED

    @property
    def metadata(self) -> Json:
        """The request, as JSON values."""
        return _read(self.metadata_json)

    @property
    def execution_metadata(self) -> Json:
        """The last committed progress, as JSON values."""
        return _read(self.execution_metadata_json)

    @property
    def result(self) -> Json:
        """The result of a completed task, as JSON values; None before."""
        return _read(self.result_json)

    @property
    def error(self) -> Json:
        """The typed error of a failed or cancelled task, as JSON values; None where there is none."""
        return _read(self.error_json)

    @property
    def idempotency_key(self) -> str:
        """Stable for this task at this committed position: the same after a crash, new after the next commit."""
        return f"{self.id}:{self.sequence}"


@final
@frozen
class Version:
    """What a write must find unchanged, or it changes nothing: the row's claim and its place in the order of writes."""

    state: TaskState
    fence: int
    token: str | None
    sequence: int
    revision: int

    @classmethod
    def of(cls, record: TaskRecord) -> Version:
        """The version that `record` was read at."""
        return cls(record.state, record.fence, record.token, record.sequence, record.revision)


def deadline_from(start: datetime, seconds: float | None) -> datetime | None:
    """When a task that may take `seconds` in all, counted from `start`, must have ended."""
    if seconds is None:
        return None
    try:
        return later(start, timedelta(seconds=seconds))
    except OverflowError:  # more seconds than a timedelta has, infinity among them
        return LAST_MOMENT


def _read(text: JsonText | None) -> Json:
    # A damaged row must not break a listing: what cannot be read is shown as the text that it is.
    return None if text is None else from_json_text(text).value_or(cast("Any", text))
