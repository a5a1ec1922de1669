"""What the transactions of one store share: the newest time given out, and who listens for hints."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import final

from milepost.clock import Clock
from milepost.stores.protocol import Hint


@final
class Ticker:
    """The store's clock in this process: the host's, never below what was given out or stored."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._newest = datetime.min.replace(tzinfo=UTC)

    def at_least(self, stored: datetime) -> datetime:
        """The time now, given the newest one that is stored."""
        with self._lock:
            self._newest = max(self._clock().astimezone(UTC), stored, self._newest)
            return self._newest


@final
class Bulletin:
    """Hints of committed transactions to the listeners of this process, and a count of what it committed itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: frozenset[Callable[[Hint], None]] = frozenset()
        self.commits = 0
        self.is_committing = False

    @contextmanager
    def committing(self) -> Generator[None]:
        """Around a COMMIT of the store's own that changes something: counts it, unless it fails."""
        self.is_committing = True
        try:
            yield
            self.commits += 1
        finally:
            self.is_committing = False

    def tell(self, hints: Hint) -> None:
        """Pass hints on."""
        if hints:
            for listener in self._listeners:
                listener(hints)

    def join(self, listener: Callable[[Hint], None]) -> None:
        """Listen from now on."""
        with self._lock:
            self._listeners |= {listener}

    def leave(self, listener: Callable[[Hint], None]) -> None:
        """Listen no more."""
        with self._lock:
            self._listeners -= {listener}
