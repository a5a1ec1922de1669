"""Why a task does not run now, as values: each gate that a claim would not pass, with a sentence for people.

A gate tells states, times, names, keys of limits and recorded reasons, never a payload. What a program decides on are
its fields; its `str` is for people and may be worded anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, TypeAlias, final

from attrs import frozen

from milepost.lifecycle.children import ChildCount
from milepost.lifecycle.record import TaskId
from milepost.lifecycle.states import TaskState

_ENDS: Final = "it will end instead of run"


@final
@frozen
class Ended:
    """The task is completed, failed or cancelled."""

    state: TaskState
    since: datetime | None

    def __str__(self) -> str:
        return f"{self.state.value}{_since(self.since)}"


@final
@frozen
class Quarantined:
    """The task was put aside for a person, who may requeue it. `since` is None where no history of it is kept."""

    since: datetime | None
    reason: str

    def __str__(self) -> str:
        return f"quarantined{_since(self.since)}{_because(self.reason)}; requeue it to try again"


@final
@frozen
class ClaimedBy:
    """The task runs, on an executor whose lease holds."""

    executor: str
    lease_until: datetime

    def __str__(self) -> str:
        return f"runs: claimed by the executor {self.executor}, whose lease holds until {_time(self.lease_until)}"


@final
@frozen
class OwnerLost:
    """The task ran on an executor whose lease ended at `since`, or is not known any more. Anybody may take it over."""

    executor: str
    since: datetime | None

    def __str__(self) -> str:
        end = "is gone" if self.since is None else f"gave no sign of life after {_time(self.since)}"
        return f"waits to be taken over: its executor {self.executor} {end}"


@final
@frozen
class CancelPending:
    """The task's end was asked for: its executor was told, or will end it when it takes it over."""

    since: datetime
    reason: str

    def __str__(self) -> str:
        return f"a cancel was requested at {_time(self.since)}{_because(self.reason)}"


@final
@frozen
class DeadlinePassed:
    """The task should have ended by now: a claim ends it instead of running it."""

    at: datetime

    def __str__(self) -> str:
        return f"its deadline has passed at {_time(self.at)}: {_ENDS}"


@final
@frozen
class StartDeadlinePassed:
    """The task should have started by now: a claim ends it instead of running it."""

    at: datetime

    def __str__(self) -> str:
        return f"it should have started by {_time(self.at)}: {_ENDS}"


@final
@frozen
class StallsUsedUp:
    """The task was claimed so often without progress that the next claim quarantines it."""

    stalls: int

    def __str__(self) -> str:
        return f"claimed {self.stalls} times without progress: the next claim puts it into quarantine"


@final
@frozen
class SuspendedUntil:
    """The task parked itself, until a moment or (None) until somebody proceeds it."""

    until: datetime | None

    def __str__(self) -> str:
        return "suspended until somebody proceeds it" if self.until is None else f"suspended until {_time(self.until)}"


@final
@frozen
class EventAwaited:
    """The task waits for a named event, until a moment or (None) for ever."""

    event: str
    key: str
    until: datetime | None

    def __str__(self) -> str:
        until = "" if self.until is None else f", until {_time(self.until)}"
        return f"waits for the event {self.event!r}{_of_key(self.key)}{until}"


@final
@frozen
class ChildrenAwaited:
    """The task waits until all tasks that it has enqueued, or all members of the group that it is, have ended.

    Of `count.unfinished`, `by` are the first few.
    """

    count: ChildCount
    by: tuple[TaskId, ...] = ()

    def __str__(self) -> str:
        more = ", ..." if self.count.unfinished > len(self.by) else ""
        return f"waits for its children: {self.count} ({_listed(self.by)}{more})"


@final
@frozen
class NotDue:
    """The task was asked for a later time."""

    until: datetime

    def __str__(self) -> str:
        return f"not due until {_time(self.until)}"


@final
@frozen
class BackingOff:
    """The last attempt failed, or its executor gave the task back; `reason` is what the history says of it, if kept."""

    until: datetime
    reason: str

    def __str__(self) -> str:
        return f"backs off until {_time(self.until)}{_because(self.reason)}"


@final
@frozen
class RateReached:
    """All starts of this rate limit's key are taken for now. The task may start at `start`; None: it has no start yet.

    `ends` says that its definition does not let it wait: a claim ends it.
    """

    key: str
    start: datetime | None
    ends: bool = False

    def __str__(self) -> str:
        start = "it has no start yet" if self.start is None else f"it may start at {_time(self.start)}"
        return f"the rate limit{_of_key(self.key)} is used up: {_ENDS if self.ends else start}"


@final
@frozen
class Sharer:
    """A running task that takes a share of a concurrency limit."""

    task: TaskId
    executor: str

    def __str__(self) -> str:
        return f"{self.task} on {self.executor}"


@final
@frozen
class ConcurrencyReached:
    """The shares of this concurrency limit's key are taken by those that run, of which `by` are a few, or promised to
    others that wait.

    `limit` is None where no live executor knows it. `ends` says that the task's definition does not let it wait: a
    claim ends it.
    """

    key: str
    running: int
    limit: int | None
    by: tuple[Sharer, ...] = ()
    ends: bool = False

    def __str__(self) -> str:
        limit = "" if self.limit is None else f" of {self.limit}"
        more = ", ..." if self.running > len(self.by) else ""
        by = f" ({_listed(self.by)}{more})" if self.by else ""
        end = f": {_ENDS}" if self.ends else ""
        return f"the concurrency limit{_of_key(self.key)} is reached, {self.running}{limit} run{by}{end}"


@final
@frozen
class QueuePaused:
    """Somebody has paused the task's queue."""

    queue: str
    since: datetime
    reason: str

    def __str__(self) -> str:
        return f"the queue {self.queue!r} is paused{_since(self.since)}{_because(self.reason)}"


@final
@frozen
class QueueBusy:
    """The task's queue runs as many tasks as it may in the whole fleet."""

    queue: str
    running: int
    limit: int

    def __str__(self) -> str:
        return f"the queue {self.queue!r} is busy: {self.running} of {self.limit} tasks run in the whole fleet"


@final
@frozen
class NameUnregistered:
    """No live executor runs tasks of this name; `alive` is how many live."""

    name: str
    alive: int

    def __str__(self) -> str:
        others = "none is alive" if not self.alive else f"{self.alive} {_are(self.alive)} alive"
        return f"no live executor registers {self.name!r}: {others}"


@final
@frozen
class VersionTooNew:
    """The live executors that run tasks of this name know older versions only."""

    name: str
    version: int
    highest: int

    def __str__(self) -> str:
        return f"needs version {self.version} of {self.name!r}: the highest of a live executor is {self.highest}"


@final
@frozen
class QueueUnserved:
    """The live executors that run the task serve other queues."""

    queue: str
    name: str

    def __str__(self) -> str:
        return f"no live executor that runs {self.name!r} serves the queue {self.queue!r}"


@final
@frozen
class Load:
    """How many of an executor's slots are taken: of all, or of those for one queue."""

    executor: str
    running: int
    slots: int

    def __str__(self) -> str:
        return f"{self.executor} runs {self.running} of {self.slots}"


@final
@frozen
class ExecutorsFull:
    """Every live executor that could run the task has no slot free."""

    loads: tuple[Load, ...]

    def __str__(self) -> str:
        return f"every live executor that could run it is full: {_listed(self.loads)}"


Gate: TypeAlias = (
    Ended
    | Quarantined
    | ClaimedBy
    | OwnerLost
    | CancelPending
    | DeadlinePassed
    | StartDeadlinePassed
    | StallsUsedUp
    | SuspendedUntil
    | EventAwaited
    | ChildrenAwaited
    | NotDue
    | BackingOff
    | RateReached
    | ConcurrencyReached
    | QueuePaused
    | QueueBusy
    | NameUnregistered
    | VersionTooNew
    | QueueUnserved
    | ExecutorsFull
)
"""Something that keeps a task from running now."""


def _time(moment: datetime) -> str:
    return moment.isoformat(sep=" ", timespec="seconds")


def _since(moment: datetime | None) -> str:
    return "" if moment is None else f" since {_time(moment)}"


def _because(reason: str) -> str:
    return f" because: {reason}" if reason else ""


def _of_key(key: str) -> str:
    return f" of the key {key!r}" if key else ""


def _listed(items: Sequence[object]) -> str:
    return ", ".join(map(str, items))


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
