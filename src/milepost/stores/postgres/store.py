"""The shell of the PostgreSQL store: threads with a connection each, and one that listens.

Calls become jobs of those threads; how a job becomes a transaction is in `worker`, what it may do in `session`. Threads
and connections are made when there is something for them to do. Effects of user code, which may hold a transaction for
long, have threads of their own, so that they keep neither a turn nor the renewal of a lease waiting.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from secrets import token_hex
from typing import Any, Final, TypeVar, cast, final
from weakref import WeakSet

import trio

from milepost.errors import StoreClosed, StoreError
from milepost.stores.hint_watch import HintWatch
from milepost.stores.postgres.joining import Identity, check_home, identity_of, joined
from milepost.stores.postgres.migrations import Connection
from milepost.stores.postgres.place import Place
from milepost.stores.postgres.session import PostgresSession
from milepost.stores.postgres.statements import PLANNING
from milepost.stores.postgres.watch import Listener
from milepost.stores.postgres.worker import Office, Worker
from milepost.stores.protocol import ANY_HINT, Hint, Session
from milepost.stores.thread import Job, OwnedThreads

T = TypeVar("T")

_READERS_MAX: Final = 2


@final
class PostgresStore:
    """A store in one schema of a PostgreSQL database. `open` it before use, `close` it afterwards; `open_store` does.

    What is given as the host's clock elsewhere is the server's here: `Session.now()` asks it, in every transaction.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        office = Office(place, token_hex(8), self._tell)
        self._writers = _threads("writer", place.connections, lambda: Worker(office, settings=PLANNING))
        self._effects = _threads("effect", place.connections, lambda: Worker(office, settings={}))
        self._readers = _threads(
            "reader", min(_READERS_MAX, place.connections), lambda: Worker(office, reads_only=True, settings={})
        )
        self._pools = (self._readers, self._effects, self._writers)
        self._listener = Listener(place, office.origin, self._tell)
        self._watches: frozenset[HintWatch] = frozenset()
        self._lock = threading.Lock()
        self._closed = False
        self._home: Identity | None = None
        self._at_home: WeakSet[Connection] = WeakSet()

    @property
    def url(self) -> str:
        """Where the store is, without secrets."""
        return self._place.url

    async def open(self) -> None:
        """Connect and bring the schema up to date, or raise what is wrong with it."""
        self._home = await self.transact(self._home_of)

    def open_blocking(self) -> None:
        """`open` without trio."""
        self._home = self.transact_blocking(self._home_of)

    async def transact(
        self,
        function: Callable[[Session], T],
        *,
        alone: bool = False,
        within_seconds: float | None = None,
        durable: bool = True,
    ) -> T:
        """Run `function` in a transaction and return its value once it is durable; what it raises rolls it back.

        Every transaction is alone here, and durable too: a server that loses power takes no executor with it, so a
        claim that it forgot would run twice. When others were on the same rows, it is undone and `function` run again.
        """
        job = Job[Session](function, alone=alone, within_seconds=within_seconds, durable=durable)
        return cast("T", await self._pool_of(job).call(job))

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
        return cast("T", self._pool_of(job).call_blocking(job))

    async def read(self, function: Callable[[Session], T]) -> T:
        """Run `function` on a snapshot that does not change meanwhile."""
        return cast("T", await self._readers.call(Job[Session](function)))

    def read_blocking(self, function: Callable[[Session], T]) -> T:
        """`read` from any thread."""
        self._refuse_nesting()
        return cast("T", self._readers.call_blocking(Job[Session](function)))

    def over(self, connection: Any) -> Session:
        """A session inside the caller's own open transaction, on a psycopg connection to this database.

        SQLAlchemy's `Connection` over one is understood too. The first time, the connection is asked where it leads.
        """
        own = joined(connection, self._place)
        if own not in self._at_home:
            if self._home is None:
                raise StoreError("open the store before a connection joins it")
            check_home(own, self._place, self._home)
            self._at_home.add(own)
        return PostgresSession(own, self._place.schema, is_lent=True)

    def watch(self, hints: Hint) -> HintWatch:
        """Listen for `hints`, from now on."""
        watch = HintWatch(hints, self._forget)
        with self._lock:
            if self._closed:
                raise StoreClosed("the store is closed; use it inside its `open_store` block")
            self._watches |= {watch}
        self._listener.start()
        return watch

    def close(self) -> None:
        """Finish what is under way, then release every thread and connection. May be called twice."""
        for pool in self._pools:
            pool.close()
        self._end_watches()
        self._listener.close()

    async def aclose(self) -> None:
        """`close` without blocking trio's thread."""
        for pool in self._pools:
            await pool.aclose()
        self._end_watches()
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._listener.close)

    def _home_of(self, session: Session) -> Identity:
        """What opening does in the first transaction."""
        return identity_of(session.transaction.connection, self._place.schema)

    def _pool_of(self, job: Job[Session]) -> OwnedThreads[Session]:
        return self._writers if job.within_seconds is None else self._effects

    def _end_watches(self) -> None:
        with self._lock:
            self._closed = True
        self._tell(ANY_HINT)  # whoever waits shall find out

    def _tell(self, hints: Hint) -> None:
        if hints:
            for watch in self._watches:
                watch.tell(hints)

    def _forget(self, watch: HintWatch) -> None:
        with self._lock:
            self._watches -= {watch}

    def _refuse_nesting(self) -> None:
        if any(pool.includes_this() for pool in self._pools):
            raise StoreError("a transaction cannot open another one of the same store; use the session that it has")


def _threads(role: str, threads_max: int, hire: Callable[[], Worker]) -> OwnedThreads[Session]:
    return OwnedThreads[Session](f"milepost-postgres-{role}", hire, threads_max=threads_max, batch_jobs_max=1)
