"""Waiting for a locked file: short random pauses of our own.

SQLite's own busy handler sleeps ever longer, up to 100 ms, so that of two busy processes one starves.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar, final

from milepost.errors import StoreBusy

T = TypeVar("T")

BUSY_SECONDS = 10.0
_PAUSE_SECONDS_MIN = 0.0001
_PAUSE_SECONDS_MAX = 0.0006
_COURTESY_SECONDS = 1.0


@final
class Patience:
    """How long one connection waits for its turn, and how it gives way to others. For one thread."""

    def __init__(self, seconds: float = BUSY_SECONDS) -> None:
        self.seconds = seconds
        self._courteous_until = 0.0

    def insist(self, attempt: Callable[[], T]) -> T:
        """Try until the file is free, or raise the last `StoreBusy` once the time is over."""
        end: float | None = None
        while True:
            try:
                return attempt()
            except StoreBusy as busy:
                now = time.monotonic()
                self._courteous_until = now + _COURTESY_SECONDS
                end = now + self.seconds if end is None else end
                if now >= end:
                    raise StoreBusy(f"{busy}; waited {self.seconds:g} seconds") from busy
            time.sleep(random.uniform(_PAUSE_SECONDS_MIN, _PAUSE_SECONDS_MAX))

    def give_way(self) -> None:
        """Pause after a commit, if somebody else wanted the file lately: without it they would hardly get a turn."""
        if time.monotonic() < self._courteous_until:
            time.sleep(_PAUSE_SECONDS_MIN)
