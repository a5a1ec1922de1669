"""Keeps the executor's lease alive from a thread of its own, whatever user code does to trio's thread.

The thread stops renewing when trio has not answered for `stall_seconds`: a process that is truly stuck must be
relieved. All times here are monotonic; the lease itself is judged on the store's clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import final

import trio

from milepost.errors import StoreError

_SELF_STOP_SHARE = 0.8


@final
class LeaseKeeper:
    """Remembers when the lease was last renewed, by whom ever, and renews it when nobody else has for a third of it."""

    def __init__(
        self, renew: Callable[[], bool], *, lease_seconds: float, stall_seconds: float, lost: Callable[[], None]
    ) -> None:
        self._renew = renew
        self._lost = lost
        self._lease_seconds = lease_seconds
        self._stall_seconds = stall_seconds
        self._renewed_at = time.monotonic()
        self._answered_at = time.monotonic()
        self._stall: float | None = None
        self._closing = threading.Event()
        self._token = trio.lowlevel.current_trio_token()
        self._thread = threading.Thread(target=self._keep, name="milepost-lease", daemon=True)

    def start(self) -> None:
        """Begin to keep the lease, which was opened just now."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; returns at once, `join` waits."""
        self._closing.set()

    def join(self) -> None:
        """Wait for the thread's end."""
        self._thread.join()

    def renewed(self, sent_at: float) -> None:
        """Somebody renewed the lease by a request that was sent at `sent_at`."""
        self._renewed_at = max(self._renewed_at, sent_at)

    def begin_again(self, sent_at: float) -> None:
        """A new lease was opened by a request that was sent at `sent_at`."""
        self._renewed_at = sent_at

    @property
    def age_seconds(self) -> float:
        """Since the request was sent that last renewed the lease."""
        return time.monotonic() - self._renewed_at

    @property
    def is_due(self) -> bool:
        """Whether it is time to renew."""
        return self.age_seconds > self._lease_seconds / 3

    @property
    def is_overdue(self) -> bool:
        """Whether the executor must stop its own runs, before the others may take them over."""
        return self.age_seconds > _SELF_STOP_SHARE * self._lease_seconds

    def take_stall(self) -> float | None:
        """For how long trio's thread stood still, once after each time that cost the lease a renewal."""
        stall, self._stall = self._stall, None
        return stall

    def _keep(self) -> None:
        period = self._lease_seconds / 3
        # What could not be renewed in time is tried again soon, but a store that is away is not asked all the time.
        while not self._closing.wait(max(period / 16, min(period, period - self.age_seconds))):
            if not self._ask_trio():
                return
            silent_seconds = time.monotonic() - self._answered_at
            if silent_seconds > self._stall_seconds:
                self._stall = silent_seconds
                continue
            if self.age_seconds < period * 0.9:
                continue
            sent_at = time.monotonic()
            try:
                alive = self._renew()
            except StoreError:
                continue  # the engine sees the same store fail and reports it; here the next period tries again
            if alive:
                self.renewed(sent_at)
            else:
                self._tell_lost()

    def _ask_trio(self) -> bool:
        def answer() -> None:
            self._answered_at = time.monotonic()

        try:
            self._token.run_sync_soon(answer, idempotent=True)
        except trio.RunFinishedError:
            return False
        return True

    def _tell_lost(self) -> None:
        try:
            self._token.run_sync_soon(self._lost, idempotent=True)
        except trio.RunFinishedError:
            return
