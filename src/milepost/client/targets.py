"""What verbs of one task take: its id, or the handle that its enqueueing gave."""

from __future__ import annotations

from typing import Protocol, TypeAlias

from milepost.codec.scalars import shown
from milepost.errors import ConfigurationError, TaskGone
from milepost.lifecycle.record import TaskId
from milepost.lifecycle.refusals import TaskNotFound
from milepost.payload import storable_text
from milepost.tasks import AnyTask


class Handle(Protocol):
    """What the handles of tasks and groups have in common: which task, and its definition."""

    @property
    def id(self) -> TaskId:
        """The task's id."""
        ...

    @property
    def task(self) -> AnyTask | None:
        """The task's definition; None for a group without a continuation."""
        ...


Target: TypeAlias = TaskId | Handle


def id_of(target: Target) -> TaskId:
    """The id that is meant; no task has one that no database can hold. Raises `ConfigurationError` for neither."""
    id: object = target if isinstance(target, str) else getattr(target, "id", None)
    if not isinstance(id, str):
        raise ConfigurationError(
            f"one task is meant by its id, a text as str(uuid) gives it, or by its handle, got {shown(target)}"
        )
    return TaskId(storable_text(id))


def gone(id: TaskId) -> TaskGone:
    """What is raised when one waits for a task that was deleted, or that never was."""
    return TaskGone(f"{TaskNotFound(id)} (any more)")
