"""Threads that take turns with the world: a strand runs only while everything else waits for it.

The lease keeper of an executor and blocking functions of tasks run on real threads, so that their code is what it is
in production. Each time such a thread would wait, it gives the turn back, and the world decides when it goes on.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, final

import outcome

if TYPE_CHECKING:
    from milepost.testing.simulation.process import Process


class StrandEnded(BaseException):
    """Unwinds a strand whose process was killed, once the simulation is over."""


_here = threading.local()


@final
class Strand:
    """One thread of a process. `wake_at` is when it wants the turn again."""

    def __init__(self, process: Process, function: Callable[[], Any]) -> None:
        self.process = process
        self.wake_at = -math.inf
        self.answer: outcome.Outcome[Any] | None = None
        self.request: Callable[[], Any] | None = None
        self.reply: outcome.Outcome[Any] | None = None
        self.when_given_back: Callable[[], None] = lambda: None
        self._function = function
        self.was_cut = False
        self._go, self._given_back = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._given_back.acquire()
        self._thread = threading.Thread(target=self._run, name="milepost-strand", daemon=True)
        self._thread.start()
        process.strands.append(self)

    @staticmethod
    def current() -> Strand | None:
        """The strand that calls this; None outside of any."""
        return getattr(_here, "strand", None)

    @property
    def has_ended(self) -> bool:
        """Whether its function has returned or raised."""
        return self.answer is not None

    def resume(self) -> None:
        """Give it the turn, and wait until it gives it back."""
        self._go.release()
        self._given_back.acquire()
        self.process.poke()
        if self.has_ended:
            self.process.strands.remove(self)
        self.when_given_back()

    def cut(self) -> None:
        """Unwind it."""
        self.was_cut = True
        while not self.has_ended:
            self.resume()
        self._thread.join()

    def wait(self, until: float = math.inf) -> None:
        """Called in the strand: give the turn back, until `until` or until somebody wakes it."""
        self.wake_at = until
        self._given_back.release()
        self._go.acquire()
        if self.was_cut:
            raise StrandEnded

    def wake(self) -> None:
        """Let it have the turn soon."""
        self.wake_at = -math.inf

    def ask(self, request: Callable[[], Any]) -> Any:
        """Called in the strand: have the trio task that waits for it await `request()`, and return the answer."""
        self.request, self.reply = request, None
        while self.reply is None:
            self.wait()
        reply: outcome.Outcome[Any] = self.reply
        return reply.unwrap()

    def _run(self) -> None:
        _here.strand = self
        self._go.acquire()
        answer: outcome.Outcome[Any] = outcome.Error(StrandEnded())
        try:
            if not self.was_cut:
                answer = outcome.capture(self._function)
        finally:
            self.answer = answer
            self._given_back.release()


@final
class StrandThread:
    """`threading.Thread` for strands."""

    def __init__(self, process: Process, target: Callable[[], Any]) -> None:
        self._process = process
        self._target = target
        self._strand: Strand | None = None
        self._joiners: list[Strand] = []

    def start(self) -> None:
        """Begin."""
        self._strand = Strand(self._process, self._call)

    def join(self) -> None:
        """Wait for its end, from another strand."""
        here = Strand.current()
        while here is not None and self._strand is not None and not self._strand.has_ended:
            self._joiners.append(here)
            here.wait()

    def _call(self) -> None:
        try:
            self._target()
        finally:
            for each in self._joiners:
                each.wake()


@final
class StrandEvent:
    """`threading.Event` for strands; `set` is called from anywhere."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._is_set = False
        self._waiting: list[Strand] = []

    def is_set(self) -> bool:
        """Whether `set` was called."""
        return self._is_set

    def set(self) -> None:
        """Wake whoever waits."""
        self._is_set = True
        for each in self._waiting:
            each.wake()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, at most `timeout` seconds."""
        until = math.inf if timeout is None else self._now() + timeout
        here = Strand.current()
        while here is not None and not self._is_set and self._now() < until:
            self._waiting.append(here)
            here.wait(until)
            self._waiting.remove(here)
        return self._is_set
