"""What the executor tells: a closed union of observations, each with its payload; formatting is somebody else's job."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import Enum
from typing import TypeAlias, final

from attrs import frozen

from milepost.lifecycle.record import TaskId
from milepost.lifecycle.states import LimitKind, TaskState


class StoreCondition(Enum):
    """How the store answers."""

    UP = "up"
    BUSY = "busy"
    FULL = "full"
    READ_ONLY = "read-only"
    UNREACHABLE = "unreachable"
    SCHEMA_OLD = "schema old"
    SCHEMA_NEWER = "schema newer"


@final
@frozen
class ExecutorStarted:
    """The executor holds its lease and begins to claim."""

    executor: str


@final
@frozen
class ExecutorStopped:
    """The executor has given back everything; `interrupted` runs were cut and released."""

    executor: str
    interrupted: int


@final
@frozen
class AttemptStarted:
    """A run begins."""

    id: TaskId
    name: str
    attempt: int
    fence: int


@final
@frozen
class ProgressCommitted:
    """A commit of execution metadata is durable."""

    id: TaskId
    name: str
    sequence: int


@final
@frozen
class AttemptEnded:
    """A run's end is durable, and what it made of the task; `due_at` says when it goes on, `reason` why it ended so."""

    id: TaskId
    name: str
    attempt: int
    state: TaskState
    seconds: float
    due_at: datetime | None = None
    reason: str = ""


@final
@frozen
class TasksLimited:
    """A turn put back so many tasks of a name that a limit makes wait; told once per turn, name and limit."""

    name: str
    kind: LimitKind
    count: int


@final
@frozen
class ScheduleFired:
    """This executor has enqueued a task for an instant of the schedule `key`, for anybody to run; it is durable."""

    key: str
    name: str
    id: TaskId
    at: datetime


@final
@frozen
class ScheduleFailed:
    """The schedule `key` could not fire: what is stored of it cannot be read, or its queue is full."""

    key: str
    name: str
    reason: str
    retry_at: datetime


@final
@frozen
class RunDiscarded:
    """A run lost its claim: whatever it did was not written, and nothing was counted against the task."""

    id: TaskId
    name: str
    fence: int


@final
@frozen
class StoreChanged:
    """The store answers differently than before; told once per change."""

    condition: StoreCondition
    detail: str = ""


@final
@frozen
class LoopStalled:
    """User code has kept trio's thread for `seconds`; the lease is no longer renewed."""

    executor: str
    seconds: float


@final
@frozen
class LeaseLost:
    """The executor's lease was gone, so it dropped its runs and goes on under a new id."""

    executor: str
    successor: str


Observation: TypeAlias = (
    ExecutorStarted
    | ExecutorStopped
    | AttemptStarted
    | ProgressCommitted
    | AttemptEnded
    | TasksLimited
    | ScheduleFired
    | ScheduleFailed
    | RunDiscarded
    | StoreChanged
    | LoopStalled
    | LeaseLost
)

Observer: TypeAlias = Callable[[Observation], object]
"""Called in the executor's thread after the fact; what it raises is logged and goes no further."""
