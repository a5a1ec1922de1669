"""Refusals that a program plans for: values, not exceptions."""

from __future__ import annotations

from typing import TypeAlias, final

from attrs import frozen

from milepost.errors import MilepostError
from milepost.lifecycle.record import TaskId
from milepost.lifecycle.states import TaskState
from milepost.payload import PayloadRefused


@final
@frozen
class TaskNotFound:
    """There is no task with this id; or, with None for the id, no live task that matches the query."""

    id: TaskId | None = None

    def __str__(self) -> str:
        return "no live task matches the query" if self.id is None else f"there is no task {self.id or repr('')}"


@final
@frozen
class SeveralTasksFound:
    """The query matches more than one live task: `ids` are up to ten of them, the oldest first."""

    ids: tuple[TaskId, ...]

    def __str__(self) -> str:
        return f"the query matches several live tasks, where it must match one: {', '.join(self.ids)}"


@final
@frozen
class ModificationFailed:
    """`modify` or `edit` raised, or made a value that cannot be stored; nothing was written."""

    reason: str

    def __str__(self) -> str:
        return f"the modification failed: {self.reason}"


@final
@frozen
class WrongState:
    """The task's state does not allow this."""

    state: TaskState

    def __str__(self) -> str:
        return f"not possible while the task is {self.state.value}"


@final
@frozen
class KeyTaken:
    """Another live task of this name holds the key."""

    name: str
    key: str
    holder: TaskId

    def __str__(self) -> str:
        return f"the key {self.key!r} of {self.name!r} is held by the live task {self.holder}"


@final
@frozen
class IdTaken:
    """Another request, of another name or with other metadata, was enqueued under this id."""

    id: TaskId
    name: str

    def __str__(self) -> str:
        return f"the id {self.id} belongs to another request, for {self.name!r}"


@final
@frozen
class QueueFull:
    """The queue has no room: so many tasks wait in it, and that is its capacity."""

    queue: str
    capacity: int

    def __str__(self) -> str:
        return f"the queue {self.queue!r} is full: its capacity is {self.capacity}"


@final
@frozen
class ScheduleNotFound:
    """There is no schedule of this key."""

    key: str

    def __str__(self) -> str:
        return f"there is no schedule {self.key!r}"


@final
@frozen
class ScheduleUnreadable:
    """What is stored of the schedule cannot be read by this program; scheduling it anew repairs it."""

    key: str
    reason: str

    def __str__(self) -> str:
        return f"the schedule {self.key!r} cannot be read: {self.reason}"


@final
@frozen
class CancelAccepted:
    """The cancel is durable: `state` is CANCELLED when it took effect at once, RUNNING when the owner was asked.

    `descendants` is for how many of these it was done as well, if it was asked for with them; of a task that had ended
    before its descendants, `state` is that end.
    """

    id: TaskId
    state: TaskState
    descendants: int = 0


EnqueueRefusal: TypeAlias = KeyTaken | IdTaken | QueueFull | PayloadRefused
CancelRefused: TypeAlias = TaskNotFound | WrongState
RequeueRefused: TypeAlias = TaskNotFound | WrongState | KeyTaken | ModificationFailed
DeleteRefused: TypeAlias = TaskNotFound | WrongState
ProceedRefused: TypeAlias = TaskNotFound | SeveralTasksFound | WrongState | ModificationFailed
TriggerRefused: TypeAlias = ScheduleNotFound | ScheduleUnreadable | QueueFull


class EnqueueRefused(MilepostError):
    """`enqueue` was refused; `reason` says why. `try_enqueue` gives the reason as a value instead."""

    def __init__(self, reason: EnqueueRefusal) -> None:
        super().__init__(str(reason))
        self.reason: EnqueueRefusal = reason
