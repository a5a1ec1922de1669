"""Hints inside one process: who listens, and how a listener is waked in trio or in a plain thread."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import TypeAlias, final

import trio

from milepost.stores.protocol import Hint

_Sleeper: TypeAlias = tuple[trio.lowlevel.TrioToken, trio.Event]


@final
class HintWatch:
    """A listener. A hint that arrives between two waits is kept for the next one.

    `misses_nothing` says that all that happens in the store is told here, so that nobody needs to look without a hint.
    """

    def __init__(self, hints: Hint, forget: Callable[[HintWatch], None], *, misses_nothing: bool = False) -> None:
        self.misses_nothing = misses_nothing
        self._hints = hints
        self._forget = forget
        self._condition = threading.Condition()
        self._heard = False
        self._sleepers: set[_Sleeper] = set()

    def tell(self, hints: Hint) -> None:
        """Wake whoever waits for one of `hints`; callable from any thread."""
        if not hints & self._hints:
            return
        with self._condition:
            self._heard = True
            self._condition.notify_all()
            sleepers = tuple(self._sleepers)
        for token, event in sleepers:
            _set_from_anywhere(token, event)

    async def wait(self, seconds: float) -> bool:
        """Return True as soon as one of the watched hints may hold, False after `seconds`."""
        sleeper = (trio.lowlevel.current_trio_token(), trio.Event())
        with self._condition:
            heard = self._heard
            self._sleepers.add(sleeper)
        try:
            if heard:
                # Before the hint is taken, so that a cancelled waiter leaves it to the next one.
                await trio.lowlevel.checkpoint()
            else:
                with trio.move_on_after(max(0, seconds)):
                    await sleeper[1].wait()
        finally:
            with self._condition:
                self._sleepers.discard(sleeper)
        return self._take(sleeper[1].is_set())

    def wait_blocking(self, seconds: float) -> bool:
        """`wait` for a thread without trio."""
        timeout = None if math.isinf(seconds) else max(0, seconds)
        with self._condition:
            heard = self._condition.wait_for(lambda: self._heard, timeout)
            self._heard = False
        return heard

    def close(self) -> None:
        """Stop listening."""
        self._forget(self)

    def _take(self, waked: bool) -> bool:
        # `waked` counts too: of two who wait on one watch, the first takes the flag and both were told.
        with self._condition:
            heard, self._heard = self._heard or waked, False
        return heard


def _set_from_anywhere(token: trio.lowlevel.TrioToken, event: trio.Event) -> None:
    try:
        here = trio.lowlevel.current_trio_token() is token
    except RuntimeError:
        here = False
    if here:
        event.set()
        return
    try:
        token.run_sync_soon(event.set)
    except trio.RunFinishedError:
        return  # its trio has ended, and the waiter with it
