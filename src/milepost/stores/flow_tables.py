"""What a session knows of the ties between tasks: who waits for whom, what fires when, and which events were sent.

Each is reached through a property of the session and belongs to its transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol, final

from attrs import field, frozen

from milepost.lifecycle.children import Child, ChildCount
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.payload import JsonText
from milepost.schedules.standing import ScheduleState


class JoinTable(Protocol):
    """`session.joins`: whom tasks wait for, and what became of them.

    Who ends a child and who begins to wait for it may do so at the same time, and so may those who end two children of
    one parent. So ends are kept first, then the parents are read, which locks them, then it is asked which of them have
    unfinished children: of two that end the last two children, the second sees what the first has kept.
    """

    def put(self, parent: TaskId, children: Sequence[TaskId]) -> None:
        """`parent` waits for these, in this order, each named once, and for none of those before.

        What is final already is kept with its end at once; a task that is not there is left out.
        """
        ...

    def end(self, ended: Sequence[TaskRecord]) -> list[TaskId]:
        """Keep these ends, which are written already, wherever somebody waits for the task and has no end of it yet.

        Gives those who do, sorted.
        """
        ...

    def reopen(self, tasks: Sequence[TaskId]) -> None:
        """Forget the ends of these tasks with parents that still wait: suspended, and with a join."""
        ...

    def unfinished(self, parents: Sequence[TaskId]) -> set[TaskId]:
        """Those of `parents` that have a child without an end."""
        ...

    def unfinished_of(self, parent: TaskId) -> list[TaskId]:
        """The children of `parent` that have no end yet, in order."""
        ...

    def counts(self, parents: Sequence[TaskId]) -> dict[TaskId, ChildCount]:
        """How far the children of each of these are; who never waited is absent. Counts them all."""
        ...

    def children(self, parents: Sequence[TaskId]) -> dict[TaskId, list[Child]]:
        """The children of each of these, in order; who never waited is absent."""
        ...

    def hand_over(self, parent: TaskId, heir: TaskId) -> bool:
        """The heir, who waits for nobody yet, waits for the children of `parent` too; gives whether any has no end yet.

        The heir has the ends that are kept, and nothing that ends meanwhile is missed by either.
        """
        ...

    def descendants(self, roots: Sequence[TaskId]) -> list[TaskId]:
        """All that was enqueued by results of these, and by results of those, and so on; no root.

        Nearest first, and each generation by id.
        """
        ...


@final
@frozen(kw_only=True)
class ScheduleRow:
    """A schedule as it is stored. `terms_json` and `request_json` are canonical: definitions differ exactly if they do.

    `revision` counts writes of the row. `due_at` is when an executor must look at it next; None: never. `errors` counts
    the looks in a row that failed, and `error` is why the last one did.
    """

    key: str
    name: str
    terms_json: JsonText
    request_json: JsonText = field(repr=False)
    state: ScheduleState
    latest_task: TaskId | None = None
    due_at: datetime | None = None
    errors: int = 0
    error: str = ""
    revision: int = 0


class ScheduleTable(Protocol):
    """`session.schedules`: what fires again and again."""

    def get(self, keys: Collection[str]) -> dict[str, ScheduleRow]:
        """The schedules with these keys; unknown ones are absent."""
        ...

    def all(self) -> list[ScheduleRow]:
        """Every schedule, by key."""
        ...

    def insert(self, row: ScheduleRow) -> bool:
        """Add a schedule, as it is; False when there is one of that key. Hints DUE."""
        ...

    def write(self, row: ScheduleRow) -> bool:
        """Replace the row if it still has `row.revision`, which is raised by one; False when it has not. Hints DUE."""
        ...

    def delete(self, keys: Sequence[str]) -> list[str]:
        """Remove schedules; gives the keys of those that there were."""
        ...

    def due(self, *, now: datetime, limit: int) -> list[ScheduleRow]:
        """Up to `limit` schedules whose `due_at` is not after `now`, the longest due first.

        Those that somebody else looks at in this moment may be left out.
        """
        ...

    def next_due(self) -> datetime | None:
        """The earliest `due_at` of all."""
        ...

    def wake(self, keys: Sequence[str], *, now: datetime) -> None:
        """Of these, those with a queued instant are due now: the task that they wait for has ended. Hints DUE.

        Counts as a write of the row, so that whoever decided on what it was before sees that it has changed.
        """
        ...


@final
@frozen
class SentEvent:
    """An event as it was sent. `id` tells two sendings apart: the same one sent again is delivered once."""

    name: str
    key: str
    id: str
    payload_json: JsonText = field(repr=False)
    sent_at: datetime
    keep_until: datetime


@final
@frozen
class KeptEvent:
    """An event as it is stored: its number in the order of sending, and when it was delivered; None: not yet."""

    number: int
    event: SentEvent
    delivered_at: datetime | None


class EventTable(Protocol):
    """`session.events`: what was sent under a name and a key, until somebody waits for it."""

    def lock(self, keys: Collection[tuple[str, str]]) -> None:
        """Wait until nobody else sends or begins to wait for these (name, key), until this transaction ends.

        To be asked for all at once, before any task is locked.
        """
        ...

    def is_known(self, event: SentEvent) -> bool:
        """Whether an event of this name, key and id was sent before, to be kept until `event.sent_at` or later."""
        ...

    def keep(self, event: SentEvent, *, delivered_at: datetime | None) -> None:
        """Store what was sent: for the first who comes to wait for it, or, delivered, to know its id again.

        Takes the place of one with this name, key and id that is not known any more.
        """
        ...

    def take(self, name: str, key: str, *, now: datetime) -> SentEvent | None:
        """The first that was sent, is not delivered and kept until `now` or later; from now on it is delivered."""
        ...

    def waiting(self, name: str, key: str) -> list[TaskRecord]:
        """The suspended tasks that wait for it, in the order of their ids."""
        ...

    def forget(self, *, before: datetime, limit: int) -> int:
        """Remove up to `limit` that were to be kept until before `before`, the oldest first; returns how many."""
        ...

    def copy_out(self, after: int, *, limit: int) -> list[KeptEvent]:
        """Up to `limit` events in the order of sending, from behind number `after` on; 0 is before the first."""
        ...
