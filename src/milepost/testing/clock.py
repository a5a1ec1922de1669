"""Time that passes when nobody has anything left to do: days of waiting in a test, in milliseconds.

One clock for both kinds of time: trio waits by it, and a store that is given its `now` tells the same instants.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar, TypeVarTuple, final

import trio
import trio.testing

from milepost.executor.config import ExecutorConfig

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

START: Final = datetime(2030, 1, 1, tzinfo=UTC)
"""What a virtual clock says before any time has passed, unless it is told otherwise."""

_LOOK_SECONDS = 0.01
"""How long it really waits where nothing is due at all, before it looks again."""


@final
class VirtualClock(trio.abc.Clock):
    """A clock of trio, and the wall clock of stores; made by `virtual_clock`.

    >>> clock = virtual_clock()
    >>> clock.run(trio.sleep, 86_400)
    >>> clock.now()
    datetime.datetime(2030, 1, 2, 0, 0, tzinfo=datetime.timezone.utc)
    """

    def __init__(self, start: datetime = START, *, autojump: bool = True) -> None:
        if start.utcoffset() is None:
            raise ValueError(f"a virtual clock starts at an aware datetime, {start!r} has no time zone")
        self._start = start.astimezone(UTC)
        self._autojump = autojump
        self._time = trio.testing.MockClock()
        self._base = self._time.current_time()
        self._jumps = False

    def now(self) -> datetime:
        """The instant that it is, in UTC: the clock for `open_store(url, clock=clock.now)`.

        Raises RuntimeError inside a run of trio that waits by another clock: its waiting would never end.
        """
        if trio.lowlevel.in_trio_run() and trio.lowlevel.current_clock() is not self:
            raise RuntimeError("this run of trio does not wait by this clock: run it by clock.run(main)")
        return self._start + timedelta(seconds=self._time.current_time() - self._base)

    def advance(self, by: timedelta | float) -> None:
        """Let `by` pass at once, a timedelta or seconds; whatever was due meanwhile is late. Raises ValueError for less
        than nothing."""
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        if not 0 <= seconds < math.inf:
            raise ValueError(f"time passes by zero or more, got {by!r}")
        self._time.jump(seconds)

    def run(self, function: Callable[[*Arguments], Awaitable[T]], *arguments: *Arguments) -> T:
        """`trio.run` by this clock."""
        return trio.run(function, *arguments, clock=self)

    # What trio asks of a clock

    def start_clock(self) -> None:
        """A run of trio begins."""
        self._jumps = False

    def current_time(self) -> float:
        """Seconds, of no meaning in themselves."""
        return self._time.current_time()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Trio has nothing to do before `deadline`: time does not pass by itself."""
        if self._autojump and not self._jumps:
            # The first time that trio is idle: only from now on can there be a task that watches for it.
            self._jumps = True
            with suppress(RuntimeError):  # a run that is first idle when it ends takes no tasks any more
                trio.lowlevel.spawn_system_task(self._jump_when_idle)
                return 0
        return self._time.deadline_to_sleep_time(deadline)

    async def _jump_when_idle(self) -> None:
        # As MockClock's own jumps, but that a call on one of trio's threads counts as something that is going on.
        others = _Others(trio.lowlevel.current_task())
        trio.lowlevel.add_instrument(others)
        cushion = 0.0
        while True:
            await trio.testing.wait_all_threads_completed()
            others.scheduled = False
            await trio.testing.wait_all_tasks_blocked(cushion)
            # Whoever waited for the same moment, or has run since, may not be done yet.
            if others.scheduled or trio.testing.active_thread_count():
                continue
            seconds = trio.lowlevel.current_statistics().seconds_to_next_deadline
            cushion = 0.0 if seconds < math.inf else _LOOK_SECONDS
            if 0 < seconds < math.inf:
                self._time.jump(seconds)


@final
class _Others(trio.abc.Instrument):
    """Whether any task but one was scheduled."""

    def __init__(self, but: trio.lowlevel.Task) -> None:
        self.scheduled = False
        self._but = but

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        if task is not self._but:
            self.scheduled = True


def virtual_clock(start: datetime = START, *, autojump: bool = True) -> VirtualClock:
    """A clock for tests: whenever every task waits, it jumps to the next moment at which one of them goes on.

    Leases, retries, schedules, suspensions and limits of time then pass in no time, and in order. With
    `autojump=False` time stands still but for `advance`: for a store with threads of its own, SQLite or PostgreSQL,
    whose work trio cannot see. Raises ValueError for a start without a time zone.
    """
    return VirtualClock(start, autojump=autojump)


def patient_config() -> ExecutorConfig:
    """Settings for an executor on a virtual clock: it looks around once a day, so that a month is some hundred looks.

    Nothing comes later for it: a store in memory tells its executors of all that happens, and they know what is due.
    """
    day = 86_400
    return ExecutorConfig(
        poll_seconds=day, lease_seconds=4 * day, prune_seconds=day, drain_seconds=3_600, cleanup_seconds=600
    )
