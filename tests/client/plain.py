"""What milepost promises, as plain dictionaries: the model that the stores are compared with.

Nothing here is shared with the library. Time is only "due" or "not due": a delay is zero or an hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, final

from attrs import define, field

LIVE = ("pending", "running", "suspended", "retrying", "interrupted", "quarantined")
FINAL = ("completed", "failed", "cancelled")
RETRIES_MAX = 1


@final
@define
class PlainTask:
    """A task as a table on paper would have it."""

    id: str
    name: str
    key: str | None
    queue: str
    priority: int
    metadata: dict[str, Any]
    first: dict[str, Any]
    is_due: bool
    state: str = "pending"
    progress: dict[str, Any] = field(factory=dict[str, Any])
    owner: str | None = None
    failures: int = 0
    commits: int = 0
    epoch: int = 1
    unproductive: int = 0
    cancel_asked: bool = False
    proceed_kept: bool = False

    def __attrs_post_init__(self) -> None:
        self.progress = self.first

    def seen(self) -> dict[str, Any]:
        """What a client sees of it."""
        return {
            "state": self.state,
            "metadata": self.metadata,
            "execution_metadata": self.progress,
            "attempt": self.failures + 1,
            "commits": self.commits,
            "epoch": self.epoch,
            "cancel_asked": self.cancel_asked and self.state == "running",
            "proceed_kept": self.proceed_kept,
        }


@final
@define
class Plain:
    """All tasks, in order of arrival, and the queues that are paused."""

    tasks: dict[str, PlainTask] = field(factory=dict[str, PlainTask])
    paused: set[str] = field(factory=set[str])

    def holder(self, name: str, key: str | None) -> PlainTask | None:
        """Who holds the key."""
        return next(
            (t for t in self.tasks.values() if key and (t.name, t.key) == (name, key) and t.state in LIVE), None
        )

    def claimable(self) -> list[PlainTask]:
        """Who may be claimed, best first among those due at one time."""
        due = [each for each in self.tasks.values() if each.is_due and each.queue not in self.paused]
        return sorted(due, key=lambda each: -each.priority)

    def orphans(self, dead: Iterable[str]) -> list[PlainTask]:
        """Whose executor is gone."""
        gone = set(dead)
        return [each for each in self.tasks.values() if each.owner in gone and each.queue not in self.paused]

    def running(self) -> Iterator[PlainTask]:
        """Who runs."""
        return (each for each in self.tasks.values() if each.state == "running")

    def enqueue(self, task: PlainTask, policy: str) -> str:
        """`new`, `kept` or `refused`."""
        holder = self.holder(task.name, task.key)
        if holder is not None and policy == "keep":
            return "kept"
        if holder is not None and (policy == "reject" or holder.state == "running"):
            return "refused"
        if holder is not None:
            self.end(holder, "cancelled")
        self.tasks[task.id] = task
        return "new"

    def claim(self, task: PlainTask, owner: str) -> None:
        """An executor takes it."""
        task.state, task.owner, task.is_due = "running", owner, False
        task.unproductive += 1

    def end(self, task: PlainTask, state: str) -> None:
        """For good, until somebody requeues it."""
        task.state, task.owner, task.is_due = state, None, False
        task.unproductive, task.proceed_kept = 0, False

    def commit(self, task: PlainTask, progress: dict[str, Any]) -> None:
        """The run goes on from here."""
        task.progress, task.unproductive = progress, 0
        task.commits += 1

    def suspend(self, task: PlainTask, progress: dict[str, Any] | None, *, at_once: bool, in_an_hour: bool) -> None:
        """Parked; a proceed that came before lets it go on at once."""
        moved = progress is not None and progress != task.progress
        if progress is not None:
            task.progress = progress
            task.commits += 1
        if task.cancel_asked:
            self.end(task, "cancelled")
            return
        at_once = at_once or task.proceed_kept
        task.unproductive = task.unproductive if at_once and not moved else 0
        task.state, task.owner, task.is_due, task.proceed_kept = "suspended", None, False, False
        if at_once:
            task.state, task.is_due = "pending", True

    def fail(self, task: PlainTask, *, retryable: bool) -> None:
        """A failure or a crash: once more, if the policy says so."""
        if not retryable or task.failures >= RETRIES_MAX:
            self.end(task, "failed")
        elif task.cancel_asked:
            self.end(task, "cancelled")
        else:
            task.failures += 1
            task.state, task.owner, task.is_due, task.unproductive = "retrying", None, True, 0

    def interrupt(self, task: PlainTask) -> None:
        """A graceful stop: it costs nothing."""
        if task.cancel_asked:
            self.end(task, "cancelled")
        else:
            task.state, task.owner, task.is_due = "interrupted", None, True
            task.unproductive -= 1

    def cancel(self, task: PlainTask) -> str:
        """The state afterwards, or `refused`."""
        if task.state in FINAL:
            return "refused"
        if task.state == "running":
            task.cancel_asked = True
            return "running"
        self.end(task, "cancelled")
        return "cancelled"

    def requeue(self, task: PlainTask, *, from_start: bool) -> str:
        """`pending`, `refused`, or `taken` when another task holds the key by now."""
        holder = self.holder(task.name, task.key)
        if holder is not None and holder is not task:
            return "taken"
        if task.state not in (*FINAL, "quarantined"):
            return "refused"
        task.state, task.is_due, task.cancel_asked = "pending", True, False
        task.failures = task.unproductive = 0
        task.epoch += 1
        if from_start:
            task.progress = task.first
            task.commits += 1
        return "pending"

    def proceed(self, task: PlainTask, progress: dict[str, Any] | None) -> str:
        """`pending`, `kept`, or `refused`."""
        if task.state == "suspended":
            if progress is not None:
                task.progress = progress
                task.commits += 1
            task.state, task.is_due = "pending", True
            return "pending"
        if task.state in (*FINAL, "quarantined") or progress is not None:
            return "refused"
        task.proceed_kept = True
        return "kept"

    def delete(self, task: PlainTask) -> str:
        """`gone`, or `refused` while it runs."""
        if task.state == "running":
            return "refused"
        del self.tasks[task.id]
        return "gone"
