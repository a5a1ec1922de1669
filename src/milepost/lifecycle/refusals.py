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
    """There is no task with this id."""

    id: TaskId

    def __str__(self) -> str:
        return f"there is no task {self.id}"


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
class CancelAccepted:
    """The cancel is durable: `state` is CANCELLED when it took effect at once, RUNNING when the owner was asked."""

    id: TaskId
    state: TaskState


EnqueueRefusal: TypeAlias = KeyTaken | PayloadRefused
CancelRefused: TypeAlias = TaskNotFound | WrongState
RequeueRefused: TypeAlias = TaskNotFound | WrongState | KeyTaken
DeleteRefused: TypeAlias = TaskNotFound | WrongState


class EnqueueRefused(MilepostError):
    """`enqueue` was refused; `reason` says why. `try_enqueue` gives the reason as a value instead."""

    def __init__(self, reason: EnqueueRefusal) -> None:
        super().__init__(str(reason))
        self.reason: EnqueueRefusal = reason
