"""Hints: what this process committed at once, what other processes committed by looking for a change of the file.

SQLite tells nobody about commits; `pragma data_version` changes when another connection has committed, and costs a few
microseconds. Milepost counts its own commits in the file, so that a change by this process alone is no false hint.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, TypeAlias, final

import trio

from milepost.errors import StoreBusy, StoreError
from milepost.stores.protocol import Hint
from milepost.stores.sqlite.driver import Connection
from milepost.stores.sqlite.statements import statement
from milepost.stores.sqlite.ticker import Bulletin

_LOOK_SECONDS_BUSY = 0.010
_LOOK_SECONDS_IDLE = 0.025
_BUSY_FOR_SECONDS = 1.0
_COMMITS: Final = statement("commits")

_Sleeper: TypeAlias = tuple[trio.lowlevel.TrioToken, trio.Event]


@final
class SqliteWatch:
    """A listener with a connection of its own. What happens between two waits is kept for the next one."""

    def __init__(
        self, hints: Hint, bulletin: Bulletin, connect: Callable[[], Connection], forget: Callable[[SqliteWatch], None]
    ) -> None:
        self._hints = hints
        self._bulletin = bulletin
        self._forget = forget
        self._condition = threading.Condition()
        self._heard = False
        self._closed = False
        self._sleepers: set[_Sleeper] = set()
        self._changed_at = float("-inf")
        self._database: Connection | None = connect()
        self._looking = threading.Lock()
        self._version = 0
        self._foreign: int | None = None
        bulletin.join(self.tell)
        self._foreign_change()  # what was committed so far is not news

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
                if self._look() or sleeper[1].is_set():
                    return self._take(True)
                left = end - trio.current_time()
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
        self._forget(self)
        with self._looking:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _look(self) -> bool:
        """Whether there is something to tell, heard or seen in the file; it is kept until it is taken."""
        if self._foreign_change():
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
        with self._looking:
            if self._database is None:
                return True  # the store was closed: whoever waits shall find out
            try:
                return self._compare(self._database)
            except StoreBusy:
                return False
            except StoreError:
                return True  # the caller's next call will say what is wrong

    def _compare(self, database: Connection) -> bool:
        ((version,),) = database.execute("pragma data_version")
        if version == self._version:
            return False
        own = self._bulletin.commits
        ((commits,),) = database.execute(_COMMITS)
        if self._bulletin.is_committing or self._bulletin.commits != own:
            # A commit of our own may be in the file and not in the count. The old version is kept, so the next look
            # decides: a false hint here would have a busy executor listen to itself all the time.
            return False
        self._version = version
        foreign, self._foreign = self._foreign, commits - own
        return foreign != self._foreign


def _set_from_anywhere(token: trio.lowlevel.TrioToken, event: trio.Event) -> None:
    try:
        token.run_sync_soon(event.set)
    except trio.RunFinishedError:
        return  # its trio has ended, and the waiter with it
