"""What a session knows beside tasks: the settings of queues, the use of limits, the lines that runs have logged.

Each is reached through a property of the session and belongs to its transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol, final

from attrs import frozen

from milepost.lifecycle.gates import Sharer
from milepost.lifecycle.limits import LimitKey
from milepost.lifecycle.queues import QueueSettings
from milepost.lifecycle.rates import RateUse
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.states import TaskState


@final
@frozen(kw_only=True)
class QueueLoad:
    """How many live tasks a queue has.

    `waiting` for a time or for a slot, of which `due` could start now and `oldest_due_at` is since when the first of
    them could; `running`; `suspended` until somebody proceeds them; `quarantined`.
    """

    queue: str
    waiting: int = 0
    due: int = 0
    running: int = 0
    suspended: int = 0
    quarantined: int = 0
    oldest_due_at: datetime | None = None


class QueueTable(Protocol):
    """`session.settings`: what somebody has said of queues, and how full they are.

    A claim decides on what is committed when it starts, and `lock` waits for claims, so that once a change is committed
    no claim goes by what was said before.
    """

    def all(self) -> list[QueueSettings]:
        """Every queue that somebody has said something of, by name."""
        ...

    def get(self, names: Sequence[str]) -> dict[str, QueueSettings]:
        """Those of `names` that somebody has said something of."""
        ...

    def put(self, settings: QueueSettings) -> None:
        """Replace what was said of the queue; settings that say nothing take their row away.

        Hints DUE and FINAL: there may be something to claim, or room for who waits for it.
        """
        ...

    def lock(self) -> None:
        """Wait until nobody claims or changes settings, and keep it so until this transaction ends."""
        ...

    def lock_running(self, names: Sequence[str]) -> dict[str, QueueSettings]:
        """`get`, for a claim that counts: until this transaction ends, nobody else does so or changes these."""
        ...

    def lock_intake(self, names: Sequence[str]) -> None:
        """Wait until nobody else counts what waits in these queues to insert more, until this transaction ends."""
        ...

    def waiting(self, name: str, *, most: int) -> int:
        """How many tasks wait in the queue for a time or a slot, counted up to `most`."""
        ...

    def running(self, name: str) -> int:
        """How many tasks of the queue run, in the whole fleet, those of executors included that are gone."""
        ...

    def tell_free(self) -> None:
        """Hint DUE: of a queue that runs as many tasks as it may, one ends with this transaction."""
        ...

    def loads(self, *, now: datetime) -> list[QueueLoad]:
        """Every queue with live tasks, by name. Counts them all, so it takes the longer the more there are."""
        ...


class LimitTable(Protocol):
    """`session.limits`: who has used how much of what is limited, in the whole fleet."""

    def lock(self, keys: Iterable[LimitKey]) -> None:
        """Wait until nobody else decides on these keys, until this transaction ends.

        To be asked for all keys at once: two transactions that lock one after the other might wait for each other.
        """
        ...

    def rates(self, keys: Collection[LimitKey]) -> dict[LimitKey, RateUse]:
        """What is used of each of these keys' rates, and the last slot that a task holds which waits for its start."""
        ...

    def put_rates(self, used: Mapping[LimitKey, datetime]) -> None:
        """Replace until when these keys' rates are used up."""
        ...

    def forget_rates(self, *, before: datetime, limit: int) -> int:
        """Forget up to `limit` keys that were used up to an instant before `before`; returns how many."""
        ...

    def running(self, keys: Collection[LimitKey]) -> dict[LimitKey, int]:
        """How many tasks with each of these concurrency keys run, those of executors included that are gone."""
        ...

    def sharers(self, key: LimitKey, *, limit: int) -> list[Sharer]:
        """Up to `limit` of the tasks that `running` counts, by id."""
        ...

    def parked(self, most: Mapping[LimitKey, int], *, now: datetime) -> dict[LimitKey, list[TaskRecord]]:
        """The head of each key's line, up to so many: highest priority first, then first come.

        In line is who waits for a share (`limited_by`) and is not due. Absent keys have no line.
        """
        ...

    def lines(self, *, after: LimitKey | None, limit: int) -> list[LimitKey]:
        """Up to `limit` concurrency keys that anybody waits for, in order, from behind `after` on."""
        ...


@final
@frozen
class LogLine:
    """One line that a run has logged; `fence` tells the runs of a task apart, `ordinal` counts a run's lines from 0.

    `level` is a number of the standard library's `logging`.
    """

    task: TaskId
    fence: int
    ordinal: int
    at: datetime
    level: int
    logger: str
    message: str


class LogTable(Protocol):
    """`session.logs`: the lines that runs have logged, removed with their task."""

    def append(self, lines: Sequence[LogLine]) -> None:
        """Add lines of runs whose claim still is the task's newest, by their fence.

        Lines of others are dropped, and those that are there already stay.
        """
        ...

    def of(self, id: TaskId, *, limit: int, after: tuple[int, int] = (-1, -1)) -> list[LogLine]:
        """Up to `limit` lines of a task in order, from behind (fence, ordinal) `after` on."""
        ...

    def prune(self, *, before: datetime, limit: int) -> int:
        """Remove up to `limit` lines from before `before`; returns how many."""
        ...


@final
@frozen
class EndedTask:
    """A task that has ended, as it was found; at another `revision` it is not that end any more."""

    id: TaskId
    state: TaskState
    finished_at: datetime
    revision: int


@final
@frozen
class EndedPage:
    """Tasks that ended long enough ago, and behind which task the walk goes on; None where it is over."""

    tasks: tuple[EndedTask, ...]
    cursor: TaskId | None


class EndTable(Protocol):
    """`session.ends`: what has ended, as those need to know it who remove what nobody wants any more."""

    def walk(
        self, ended_before: Mapping[TaskState, datetime], *, after: TaskId | None, walked_max: int, limit: int
    ) -> EndedPage:
        """Up to `limit` tasks that ended in one of these states and before its time, among the next `walked_max` tasks
        behind `after`, in the order of ids.

        The walk is over behind the last task, or where tasks were enqueued after all of these times.
        """
        ...

    def remove(self, tasks: Sequence[EndedTask]) -> list[TaskId]:
        """Remove those that are as they were found, with their history and lines; returns which.

        What somebody else is changing is left alone, and nobody is waited for.
        """
        ...

    def is_only_one(self) -> bool:
        """Whether nobody who asks this too removes at the moment; if so, nobody will until the transaction ends."""
        ...
