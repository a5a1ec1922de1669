"""Who gets a share of a concurrency limit: the account of one key in one turn. Pure.

A share that becomes free belongs to the line: whoever waits is let in by whoever ends, highest priority first, then in
order of arrival, and who comes anew lines up behind. So nobody has to ask again and again, and nobody is overtaken.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import final

from attrs import define, field

from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.states import LimitKind


@final
@define
class Shares:
    """The shares of one key, as a turn gives them away.

    Of the `free` ones that nobody uses, `freed` were given up in this turn; the others are promised to tasks that were
    let in and not claimed yet. `parked` is the head of the line: as many as may be let in and, where any waits at all,
    at least one. `let_in` are those of them that get a share.
    """

    free: int
    freed: int
    parked: Sequence[TaskRecord] = ()
    let_in: list[TaskRecord] = field(factory=list[TaskRecord], init=False)

    def has_room(self, record: TaskRecord) -> bool:
        """Whether a claimed task can have a share; ask first for those that were let in, then in the order of `place`.

        Whoever waits and comes before it is let in before.
        """
        if has_waited(record):
            return self.free > 0
        self._let_in(before=place(record))
        return self._given > 0

    def take(self, record: TaskRecord) -> None:
        """The task runs, with the share that there was room for."""
        self.free -= 1
        if not has_waited(record):
            self.freed -= 1

    def pass_on(self, record: TaskRecord) -> None:
        """The task makes no use of its share: what it was promised is the next one's."""
        if has_waited(record):
            self.freed += 1

    def let_in_the_rest(self) -> Sequence[TaskRecord]:
        """Everybody has been asked for: what is left goes to the line. Returns all that were let in."""
        self._let_in()
        return self.let_in

    @property
    def _given(self) -> int:
        return min(self.free, self.freed) if self.parked else self.free

    def _let_in(self, before: tuple[int, datetime, str] | None = None) -> None:
        while self._given > 0 and len(self.let_in) < len(self.parked):
            following = self.parked[len(self.let_in)]
            if before is not None and place(following) > before:
                return
            self.let_in.append(following)
            self.free -= 1
            self.freed -= 1


def has_waited(record: TaskRecord) -> bool:
    """Whether a claimed task was in the line for a share."""
    return record.limited_by is LimitKind.CONCURRENCY


def place(record: TaskRecord) -> tuple[int, datetime, str]:
    """Where a task stands in the line."""
    return -record.priority, record.created_at, record.id
