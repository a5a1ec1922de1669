"""One simulated process: a run of trio that goes on only when the world gives it a tick.

Ticks are those of trio's guest mode, so that several runs of trio live in one thread, and whoever counts them out
decides the interleaving: a process that gets none is frozen, one that never gets one again was killed.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, final

import outcome
import trio

from milepost.testing.simulation.strands import Strand
from milepost.testing.simulation.trio_parts import run_context

_QUIET_TICKS = 2
"""Ticks without anything to run before a process counts as idle: what its threads tell it arrives one tick late."""


@final
class ProcessClock(trio.abc.Clock):
    """The world's time for one run of trio. What trio asks before it would sleep tells that it has nothing to run."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.asked: float | None = None

    def start_clock(self) -> None:
        """Nothing to do: the world's time runs already."""

    def current_time(self) -> float:
        """The world's time."""
        return self._now()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Never sleep: the world decides when there is another tick."""
        self.asked = deadline
        return 0


@final
class Process:
    """A process of the world. `idle_until` is when it has something to do next, `outcome` how it ended."""

    def __init__(self, name: str, now: Callable[[], float]) -> None:
        self.name = name
        self.idle_until = -math.inf
        self.is_frozen = False
        self.is_stalled = False
        self.is_dead = False
        self.is_deaf = False
        self.outcome: outcome.Outcome[Any] | None = None
        self.strands: list[Strand] = []
        self._clock = ProcessClock(now)
        self._callbacks: deque[Callable[[], object]] = deque()
        self._context: dict[str, Any] = {}
        self._hooks: Any = None
        self._quiet = 0
        self._scope = trio.CancelScope()

    @property
    def is_running(self) -> bool:
        """Whether it lives and has not ended."""
        return not self.is_dead and self.outcome is None

    def may_tick(self, now: float) -> bool:
        """Whether it has something to do at `now`, and is not kept from it."""
        return self.idle_until <= now and self.outcome is None and not (self.is_frozen or self.is_stalled)

    def start(self, main: Callable[[], Awaitable[object]]) -> None:
        """Begin a run of trio."""

        async def inside() -> object:
            with self._scope:
                return await main()
            return None

        with self.context():
            trio.lowlevel.start_guest_run(
                inside,
                run_sync_soon_threadsafe=self._callbacks.append,
                done_callback=self._end,
                clock=self._clock,
                host_uses_signal_set_wakeup_fd=True,
            )

    def tick(self) -> None:
        """Run every task that is ready once, up to its next checkpoint."""
        self._clock.asked = None
        callback = self._callbacks.popleft()
        before, hooks = self._enter()  # without `context`, which would double what a tick costs
        try:
            callback()
        finally:
            self._leave(before, hooks)
        if self._clock.asked is None:
            self._quiet, self.idle_until = 0, -math.inf
            return
        self._quiet += 1
        if self._quiet >= _QUIET_TICKS:
            self.idle_until = self._clock.asked

    def poke(self) -> None:
        """Something happened that the process may want to see."""
        self._quiet, self.idle_until = 0, -math.inf

    def do(self, function: Callable[[], object]) -> None:
        """Call `function` in the process, as its signal handler or its network would."""
        if self.outcome is None:
            with self.context():
                function()
            self.poke()

    def cancel(self) -> None:
        """Cancel all of it."""
        with self.context():
            self._scope.cancel()
        self.poke()

    @contextmanager
    def context(self) -> Generator[None]:
        """Be in this run of trio, and in no other."""
        before, hooks = self._enter()
        try:
            yield
        finally:
            self._leave(before, hooks)

    def _enter(self) -> tuple[dict[str, Any], Any]:
        current = run_context()
        before, hooks = dict(current), sys.get_asyncgen_hooks()
        current.clear()
        current.update(self._context)
        if self._hooks is not None:
            sys.set_asyncgen_hooks(*self._hooks)
        return before, hooks

    def _leave(self, before: dict[str, Any], hooks: Any) -> None:
        current = run_context()
        self._context, self._hooks = dict(current), sys.get_asyncgen_hooks()
        current.clear()
        current.update(before)
        sys.set_asyncgen_hooks(*hooks)

    def _end(self, result: outcome.Outcome[Any]) -> None:
        self.outcome = result
