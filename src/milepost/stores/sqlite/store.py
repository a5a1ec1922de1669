"""The shell of the SQLite store: one thread that writes, up to two that read, and watches.

Calls become jobs of those threads; what a transaction may do is in `session`, how it commits in `writer`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast, final

from milepost.clock import Clock, system_clock
from milepost.errors import StoreError
from milepost.stores.protocol import Hint, Session
from milepost.stores.sqlite import mixing
from milepost.stores.sqlite.driver import Connection, Place
from milepost.stores.sqlite.filters import define_functions, knows_functions
from milepost.stores.sqlite.libraries import LIBRARIES, driver_of
from milepost.stores.sqlite.lookout import Lookout
from milepost.stores.sqlite.opening import Opening
from milepost.stores.sqlite.patience import BUSY_SECONDS
from milepost.stores.sqlite.reader import Reader
from milepost.stores.sqlite.session import SqliteSession
from milepost.stores.sqlite.ticker import Bulletin, Ticker
from milepost.stores.sqlite.watch import SqliteWatch
from milepost.stores.sqlite.writer import Writer
from milepost.stores.thread import Job, OwnedThreads

T = TypeVar("T")

_READERS_MAX = 2
_WAL_RESET_FIXED = (3, 51, 3)
_log = logging.getLogger("milepost")


@final
class SqliteStore:
    """A store in one SQLite file. `open` it before use, `close` it afterwards; `open_store` does both."""

    def __init__(
        self, place: Place, url: str, *, clock: Clock = system_clock, busy_seconds: float = BUSY_SECONDS
    ) -> None:
        self._place = place
        self._url = url
        self._driver = driver_of(place.library)
        self._opening = Opening(place, self._driver, busy_seconds)
        self._ticker = Ticker(clock)
        self._bulletin = Bulletin()
        self._writer = OwnedThreads[Session]("milepost-sqlite-writer", self._hire_writer)
        self._readers = OwnedThreads[Session](
            "milepost-sqlite-reader", self._hire_reader, threads_max=_READERS_MAX, batch_jobs_max=1
        )
        self._lookout = Lookout(self._bulletin, self._opening.watcher)
        self._lock = threading.Lock()
        self._has_left = False
        mixing.enter(place.path, place.library)
        self._warn_of_wal_reset()

    @property
    def url(self) -> str:
        """Where the store is."""
        return self._url

    async def open(self) -> None:
        """Open the file and bring its schema up to date, or raise what is wrong with it."""
        await self.transact(_nothing)

    def open_blocking(self) -> None:
        """`open` without trio."""
        self.transact_blocking(_nothing)

    async def transact(
        self,
        function: Callable[[Session], T],
        *,
        alone: bool = False,
        within_seconds: float | None = None,
        durable: bool = True,
    ) -> T:
        """Run `function` in a transaction and return its value once it is durable; what it raises rolls it back.

        `within_seconds` implies `alone`: SQLite rolls back the whole transaction of a statement that it cuts.
        """
        job = Job[Session](function, alone=alone, within_seconds=within_seconds, durable=durable)
        return cast("T", await self._writer.call(job))

    def transact_blocking(
        self,
        function: Callable[[Session], T],
        *,
        alone: bool = False,
        within_seconds: float | None = None,
        durable: bool = True,
    ) -> T:
        """`transact` from any thread."""
        self._refuse_nesting()
        job = Job[Session](function, alone=alone, within_seconds=within_seconds, durable=durable)
        return cast("T", self._writer.call_blocking(job))

    async def read(self, function: Callable[[Session], T]) -> T:
        """Run `function` in a transaction that only reads, beside the writer."""
        return cast("T", await self._readers.call(Job[Session](function)))

    def read_blocking(self, function: Callable[[Session], T]) -> T:
        """`read` from any thread."""
        self._refuse_nesting()
        return cast("T", self._readers.call_blocking(Job[Session](function)))

    def over(self, connection: Any) -> Session:
        """A session inside the caller's own open transaction on this file, with a connection of the same library."""
        database = self._driver.adopt(connection)
        if database is None:
            raise self._wrong_kind(connection)
        path = _file_of(database)
        if not mixing.is_same_file(path, self._place.path):
            raise ValueError(f"the connection is to {path or 'a database in memory'}, the store is {self._place.path}")
        if not database.in_transaction and not database.begins_by_itself:
            raise ValueError("the connection has no open transaction; begin one first, so that it is all or nothing")
        if not knows_functions(database):
            define_functions(database)
        return SqliteSession(database, self._ticker, is_lent=True)

    def watch(self, hints: Hint) -> SqliteWatch:
        """Listen for `hints`, from now on."""
        return SqliteWatch(hints, self._bulletin, self._lookout)

    def close(self) -> None:
        """Finish what is under way, then release every thread, connection and file. May be called twice."""
        # The writer last: only a connection that can write folds the log into the file when the last one closes.
        self._readers.close()
        self._lookout.close()
        self._writer.close()
        self._leave()

    async def aclose(self) -> None:
        """`close` without blocking trio's thread."""
        await self._readers.aclose()
        self._lookout.close()
        await self._writer.aclose()
        self._leave()

    def _leave(self) -> None:
        with self._lock:
            has_left, self._has_left = self._has_left, True
        if not has_left:
            mixing.leave(self._place.path, self._place.library)

    def _hire_writer(self) -> Writer:
        return Writer(self._opening, self._ticker, self._bulletin)

    def _hire_reader(self) -> Reader:
        return Reader(self._opening, self._ticker)

    def _refuse_nesting(self) -> None:
        if self._writer.includes_this() or self._readers.includes_this():
            raise StoreError("a transaction cannot open another one of the same store; use the session that it has")

    def _wrong_kind(self, connection: Any) -> Exception:
        own = self._place.library
        other = next(library for library in LIBRARIES if library != own)
        database = driver_of(other).adopt(connection)
        if database is not None and mixing.is_same_file(_file_of(database), self._place.path):
            return mixing.mixed(self._place.path, other, own)
        kind = f"{type(connection).__module__}.{type(connection).__qualname__}"
        return TypeError(f"this store uses {own}: pass an open {own}.Connection to {self._place.path}, not a {kind}")

    def _warn_of_wal_reset(self) -> None:
        version = self._driver.sqlite_version
        if version < _WAL_RESET_FIXED:
            _log.warning(
                "SQLite %s of Python's sqlite3 can damage a database that several connections write (fixed in %s, and "
                "perhaps in older ones by your distribution); prefer the driver apsw for %s",
                ".".join(map(str, version)),
                ".".join(map(str, _WAL_RESET_FIXED)),
                self._place.path,
            )


def _nothing(_: Session) -> None:
    """What opening a store does in its first transaction."""


def _file_of(database: Connection) -> str:
    ((path,),) = database.execute("select file from pragma_database_list where name = 'main'")
    return str(path or "")
