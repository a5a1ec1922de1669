"""What a session knows beside tasks: the settings of queues, the use of limits, the lines that runs have logged.

Each is reached through a property of the session and belongs to its transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol, final

from attrs import frozen

from milepost.lifecycle.queues import QueueSettings
from milepost.lifecycle.record import TaskId, TaskRecord


class QueueTable(Protocol):
    """`session.settings`: what somebody has said of queues, and how full they are."""

    def all(self) -> list[QueueSettings]:
        """Every queue that somebody has said something of, by name."""
        ...

    def get(self, names: Sequence[str]) -> dict[str, QueueSettings]:
        """Those of `names` that somebody has said something of.

        In a transaction that may write, nobody else changes or counts these queues until it ends, so what is decided
        on their counts still holds when it commits.
        """
        ...

    def put(self, settings: QueueSettings) -> None:
        """Replace what was said of the queue; settings that say nothing take their row away."""
        ...

    def waiting(self, name: str, *, most: int) -> int:
        """How many tasks wait in the queue, due or not, counted up to `most`."""
        ...

    def running(self, name: str) -> int:
        """How many tasks of the queue run, in the whole fleet."""
        ...


class LimitKey(NamedTuple):
    """Whose share: the task's name, and what its limit's key function made of the metadata."""

    name: str
    key: str


@final
@frozen
class RateUse:
    """How much of a rate is used up (`lifecycle.limits`): the instant until which, and the next start to give away."""

    used_until: datetime
    next_slot: datetime


class LimitTable(Protocol):
    """`session.limits`: who has used how much of what is limited, in the whole fleet."""

    def lock(self, keys: Sequence[LimitKey]) -> None:
        """Wait until nobody else decides on these keys, until this transaction ends. Locks are taken in order."""
        ...

    def rates(self, keys: Sequence[LimitKey]) -> dict[LimitKey, RateUse]:
        """What is known of these keys; one that is absent has used nothing."""
        ...

    def put_rates(self, uses: Mapping[LimitKey, RateUse]) -> None:
        """Replace what is known of these keys."""
        ...

    def forget_rates(self, *, before: datetime, limit: int) -> int:
        """Forget up to `limit` keys that were used up to an instant before `before`; returns how many."""
        ...

    def running(self, keys: Sequence[LimitKey]) -> dict[LimitKey, int]:
        """How many tasks with these concurrency keys run; absent keys have none."""
        ...

    def parked(self, key: LimitKey, *, limit: int) -> list[TaskRecord]:
        """Up to `limit` tasks that wait for a share of this concurrency key: highest priority, then first come."""
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
        """Add lines of tasks that exist; those of others are dropped, and those that are there already stay."""
        ...

    def of(self, id: TaskId, *, limit: int, after: tuple[int, int] = (-1, -1)) -> list[LogLine]:
        """Up to `limit` lines of a task in order, from behind (fence, ordinal) `after` on."""
        ...

    def prune(self, *, before: datetime, limit: int) -> int:
        """Remove up to `limit` lines from before `before`; returns how many."""
        ...
