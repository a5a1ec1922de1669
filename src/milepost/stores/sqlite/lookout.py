"""Where the watches of one store look for commits of other processes: one connection for all of them.

SQLite tells nobody about commits; `pragma data_version` changes when another connection has committed, and costs a few
microseconds. Milepost counts its own commits in the file, so that a change by this process alone is no false hint.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, final

from milepost.errors import StoreBusy, StoreClosed, StoreError
from milepost.stores.sqlite.driver import Connection
from milepost.stores.sqlite.statements import statement
from milepost.stores.sqlite.ticker import Bulletin

_COMMITS: Final = statement("commits")


@final
class Lookout:
    """Opens the file with the first look, and anew after a fault."""

    def __init__(self, bulletin: Bulletin, connect: Callable[[], Connection]) -> None:
        self._bulletin = bulletin
        self._connect = connect
        self._lock = threading.Lock()
        self._database: Connection | None = None
        self._closed = False
        self._version: int | None = None
        self._foreign = 0

    def foreign_commits(self) -> int:
        """A number that changes with every commit of others; from any thread. Raises `StoreError` when it cannot look,
        and `StoreClosed` after `close`."""
        with self._lock:
            if self._closed:
                raise StoreClosed("the store is closed; use it inside its `open_store` block")
            if self._database is None:
                self._database = self._connect()
            try:
                self._compare(self._database)
            except StoreBusy:
                pass  # the next look will tell
            except StoreError:
                self._let_go()
                raise
            return self._foreign

    @property
    def known(self) -> int:
        """`foreign_commits` as of the last look; the first one looks."""
        return self.foreign_commits() if self._version is None else self._foreign

    def close(self) -> None:
        """Release the file. May be called twice."""
        with self._lock:
            self._closed = True
            self._let_go()

    def _compare(self, database: Connection) -> None:
        ((version,),) = database.execute("pragma data_version")
        if version == self._version:
            return
        own = self._bulletin.commits
        ((commits,),) = database.execute(_COMMITS)
        if self._bulletin.is_committing or self._bulletin.commits != own:
            # A commit of our own may be in the file and not in the count. The old version is kept, so the next look
            # decides: a false hint here would have a busy executor listen to itself all the time.
            return
        self._version = version
        self._foreign = commits - own

    def _let_go(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = self._version = None
