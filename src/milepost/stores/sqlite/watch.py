"""Hints: what this process committed at once, what other processes committed by looking for a change of the file."""

from __future__ import annotations

import threading
import time
from typing import TypeAlias, final

import trio

from milepost.errors import StoreError
from milepost.stores.protocol import Hint
from milepost.stores.sqlite.lookout import Lookout
from milepost.stores.sqlite.ticker import Bulletin

_LOOK_SECONDS_BUSY = 0.010
_LOOK_SECONDS_IDLE = 0.025
_BUSY_FOR_SECONDS = 1.0

_Sleeper: TypeAlias = tuple[trio.lowlevel.TrioToken, trio.Event]


@final
class SqliteWatch:
    """A listener. What happens between two waits is kept for the next one."""

    def __init__(self, hints: Hint, bulletin: Bulletin, lookout: Lookout) -> None:
        self._hints = hints
        self._bulletin = bulletin
        self._lookout = lookout
        self._condition = threading.Condition()
        self._heard = False
        self._sleepers: set[_Sleeper] = set()
        self._changed_at = float("-inf")
        self._foreign = lookout.known  # what was committed so far is no news, but for what nobody has looked for yet
        bulletin.join(self.tell)

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
        await trio.lowlevel.checkpoint()
        end = trio.current_time() + max(0.0, seconds)
        while True:
            sleeper = (trio.lowlevel.current_trio_token(), trio.Event())
            with self._condition:
                self._sleepers.add(sleeper)
            try:
                left = end - trio.current_time()
                if self._look() or sleeper[1].is_set():
                    return self._take(True)
                if left <= 0:
                    return False
                with trio.move_on_after(min(left, self._pause())):
                    await sleeper[1].wait()
            finally:
                with self._condition:
                    self._sleepers.discard(sleeper)

    def wait_blocking(self, seconds: float) -> bool:
        """`wait` for a thread without trio."""
        end = time.monotonic() + max(0.0, seconds)
        while not self._look():
            left = end - time.monotonic()
            if left <= 0:
                return False
            with self._condition:
                self._condition.wait_for(lambda: self._heard, min(left, self._pause()))
        return self._take(True)

    def close(self) -> None:
        """Stop listening."""
        self._bulletin.leave(self.tell)

    def _look(self) -> bool:
        """Whether there is something to tell, heard or seen in the file; it is kept until it is taken."""
        if not self._heard and self._foreign_change():
            with self._condition:
                self._heard = True
            self._changed_at = time.monotonic()
        return self._heard

    def _take(self, heard: bool) -> bool:
        with self._condition:
            self._heard = False
        return heard

    def _pause(self) -> float:
        busy = time.monotonic() - self._changed_at < _BUSY_FOR_SECONDS
        return _LOOK_SECONDS_BUSY if busy else _LOOK_SECONDS_IDLE

    def _foreign_change(self) -> bool:
        try:
            foreign = self._lookout.foreign_commits()
        except StoreError:
            return True  # whoever waits shall find out: the next call will say what is wrong, or that it is closed
        seen, self._foreign = self._foreign, foreign
        return foreign != seen


def _set_from_anywhere(token: trio.lowlevel.TrioToken, event: trio.Event) -> None:
    try:
        token.run_sync_soon(event.set)
    except trio.RunFinishedError:
        return  # its trio has ended, and the waiter with it
