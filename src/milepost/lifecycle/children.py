"""The children of a task that waits for them, as their ends were kept for it."""

from __future__ import annotations

from typing import final

from attrs import field, frozen

from milepost.crash import Crash
from milepost.lifecycle.record import TaskId
from milepost.lifecycle.states import TaskState
from milepost.payload import JsonText


@final
@frozen
class Child:
    """One task that another one waits for, or has waited for; its end, once it is final, and None for `state` before.

    What was kept does not change any more, whatever becomes of the child's own record.
    """

    task: TaskId
    name: str
    version: int
    state: TaskState | None = None
    result_json: JsonText | None = field(default=None, repr=False)
    error_json: JsonText | None = field(default=None, repr=False)
    crash: Crash | None = None


@final
@frozen
class ChildCount:
    """How far the children of one task are: `unfinished`, `completed`, and those that ended otherwise."""

    unfinished: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0

    def __str__(self) -> str:
        told = [f"{self.completed} of {self.total} completed"]
        if self.failed:
            told.append(f"{self.failed} failed")
        if self.cancelled:
            told.append(f"{self.cancelled} {'was' if self.cancelled == 1 else 'were'} cancelled")
        if self.unfinished:
            told.append(f"{self.unfinished} {'has' if self.unfinished == 1 else 'have'} not ended")
        return ", ".join(told)

    @property
    def total(self) -> int:
        """How many there are."""
        return self.unfinished + self.completed + self.failed + self.cancelled

    @property
    def all_completed(self) -> bool:
        """Whether each has succeeded."""
        return self.completed == self.total
