"""The world of a simulation: its time, its chance, its processes, and whose turn comes next."""

from __future__ import annotations

import heapq
import math
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from typing import Final, final
from uuid import UUID

from milepost.testing.simulation.process import Process
from milepost.testing.simulation.strands import Strand
from milepost.testing.simulation.trace import Trace

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""The store's wall clock when a simulation begins."""

_TICK_SECONDS: Final = 0.00001
"""What a turn takes, so that time passes even for code that never waits."""


class Stuck(Exception):
    """Nothing in the world will ever happen again, though somebody waits for it."""


@final
class World:
    """Everything that happens does so in `run_until`: one turn of one process, or one event, after the other."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.trace = Trace()
        self.now = 0.0
        self.clock_step = timedelta()
        self.processes: list[Process] = []
        self.corpses: list[Process] = []
        self.current: Process | None = None
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = count(1)
        self._ids = count(1)

    def wall_clock(self) -> datetime:
        """What the store's clock shows."""
        return START + timedelta(seconds=self.now) + self.clock_step

    def note(self, who: str, what: str) -> None:
        """Add a line to the trace."""
        self.trace.note(self.now, who, what)

    def after(self, seconds: float, event: Callable[[], object]) -> None:
        """Let `event` happen in `seconds`."""
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), event))

    def start(self, name: str, main: Callable[[], Awaitable[object]]) -> Process:
        """Begin a process."""
        process = Process(name, lambda: self.now)
        self.begin(process, main)
        return process

    def begin(self, process: Process, main: Callable[[], Awaitable[object]]) -> None:
        """Begin a process that was made before."""
        self.processes.append(process)
        self.current = process
        process.start(main)
        self.current = None

    def kill(self, process: Process) -> None:
        """Give a process no turn any more."""
        process.is_dead = True
        if process in self.processes:
            self.processes.remove(process)
            self.corpses.append(process)

    def run_until(self, condition: Callable[[], bool], *, at_most: float = math.inf) -> bool:
        """Go on until `condition` holds, or the time is `at_most`; says whether it holds. Raises `Stuck`."""
        while not condition():
            if self.now >= at_most:
                return False
            self._go_on(at_most)
        return True

    def new_id(self) -> str:
        """A UUID of version 7 by the world's time and chance; later ones sort after earlier ones."""
        millis = int((START + timedelta(seconds=self.now)).timestamp() * 1000)
        number = next(self._ids)
        value = (millis << 80) | (7 << 76) | ((number >> 12) & 0xFFF) << 64 | (2 << 62)
        return str(UUID(int=value | (number & 0xFFF) << 50 | self.random.getrandbits(50)))

    def token_hex(self, size: int | None = None) -> str:
        """`secrets.token_hex` by the world's chance."""
        return self.random.getrandbits(8 * (size or 32)).to_bytes(size or 32, "big").hex()

    def _go_on(self, at_most: float) -> None:
        if self._events and self._events[0][0] <= self.now:
            heapq.heappop(self._events)[2]()
            return
        ready = self._ready()
        if ready:
            self._give_turn(ready[0] if len(ready) == 1 else self.random.choice(ready))
            self.now += _TICK_SECONDS
            return
        upcoming = self._next()
        if math.isinf(upcoming) and math.isinf(at_most):
            raise Stuck(f"at {self.now:.3f} s nothing will happen any more")
        self.now = max(self.now, min(upcoming, at_most))

    def _ready(self) -> list[Process | Strand]:
        now, ready = self.now, list[Process | Strand]()
        for process in self.processes:
            if process.may_tick(now):
                ready.append(process)
            for strand in process.strands:
                if strand.wake_at <= now and not process.is_frozen:
                    ready.append(strand)
        return ready

    def _give_turn(self, one: Process | Strand) -> None:
        self.current = one.process if isinstance(one, Strand) else one
        try:
            if isinstance(one, Strand):
                one.resume()
            else:
                one.tick()
                if one.outcome is not None and not one.strands:
                    self.processes.remove(one)
        finally:
            self.current = None

    def _next(self) -> float:
        moments = [self._events[0][0]] if self._events else []
        for each in self.processes:
            if each.is_frozen:
                continue
            moments += [strand.wake_at for strand in each.strands]
            if each.outcome is None and not each.is_stalled:
                moments.append(each.idle_until)
        return min(moments, default=math.inf)
