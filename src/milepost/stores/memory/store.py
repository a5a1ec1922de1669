"""The shell of the memory store: one lock, transactions run inline, hints after the commit.

There are no threads and no sharing of transactions: a call that gets the lock has the tables for itself, and what its
function raises is undone before the lock is given back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar, final

import trio

from milepost.clock import Clock, system_clock
from milepost.errors import EffectTimeout, StoreClosed, StoreError
from milepost.stores.hint_watch import HintWatch
from milepost.stores.memory.session import MemorySession
from milepost.stores.memory.tables import Tables
from milepost.stores.protocol import ANY_HINT, Hint, Session

T = TypeVar("T")


@final
class MemoryStore:
    """A store in this process's memory: whole and correct, gone with the process.

    >>> store = MemoryStore()
    >>> store.transact_blocking(lambda session: session.get([]))
    []
    """

    def __init__(self, clock: Clock = system_clock) -> None:
        self._clock = clock
        self._latest: datetime | None = None
        self._tables = Tables()
        self._lock = threading.Lock()
        self._user: int | None = None
        self._watches: frozenset[HintWatch] = frozenset()
        self._watches_lock = threading.Lock()
        self._closed = False

    @property
    def url(self) -> str:
        """Always `memory:`."""
        return "memory:"

    async def transact(
        self,
        function: Callable[[Session], T],
        *,
        alone: bool = False,
        within_seconds: float | None = None,
        durable: bool = True,
    ) -> T:
        """Run `function` in a transaction, at once, and return its value; what it raises rolls it back."""
        await trio.lowlevel.checkpoint()
        return self.transact_blocking(function, alone=alone, within_seconds=within_seconds, durable=durable)

    def transact_blocking(
        self,
        function: Callable[[Session], T],
        *,
        alone: bool = False,
        within_seconds: float | None = None,
        durable: bool = True,
    ) -> T:
        """`transact` from any thread; every transaction is alone, and none is durable."""
        with self._session(writable=True) as session:
            started = time.monotonic()
            value = function(session)
            taken = time.monotonic() - started
            if within_seconds is not None and taken > within_seconds:
                raise EffectTimeout(
                    f"the transaction took {taken:.3f} seconds of {within_seconds} and was rolled back; do less in it"
                )
        self._tell(session.hints)
        return value

    async def read(self, function: Callable[[Session], T]) -> T:
        """Run `function` in a transaction that only reads."""
        await trio.lowlevel.checkpoint()
        return self.read_blocking(function)

    def read_blocking(self, function: Callable[[Session], T]) -> T:
        """`read` from any thread."""
        with self._session(writable=False) as session:
            return function(session)

    def over(self, connection: Any) -> NoReturn:
        """Refuse: there is no driver whose connection could be joined."""
        raise TypeError(f"the memory store has no connections; it cannot join a {type(connection).__qualname__}")

    def watch(self, hints: Hint) -> HintWatch:
        """Listen for `hints`, from now on."""
        watch = HintWatch(hints, self._forget, misses_nothing=True)
        with self._watches_lock:
            self._check_open()
            self._watches |= {watch}
        return watch

    def close(self) -> None:
        """Refuse every later call, and wake whoever waits, so that they find out."""
        with self._lock, self._watches_lock:
            self._closed = True
        self._tell(ANY_HINT)

    @contextmanager
    def _session(self, *, writable: bool) -> Generator[MemorySession]:
        if self._user == threading.get_ident():
            raise StoreError("a transaction cannot open another one of the same store; use the session that it has")
        with self._lock:
            self._check_open()
            self._user = threading.get_ident()
            session = MemorySession(self._tables, self._now, writable=writable)
            try:
                yield session
            except BaseException:
                session.roll_back()
                raise
            finally:
                session.end()
                self._user = None

    def _now(self) -> datetime:
        now = self._clock().astimezone(UTC)
        self._latest = now if self._latest is None else max(self._latest, now)
        return self._latest

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed("the memory store is closed; use it inside its `open_store` block")

    def _tell(self, hints: Hint) -> None:
        if hints:
            for watch in self._watches:
                watch.tell(hints)

    def _forget(self, watch: HintWatch) -> None:
        with self._watches_lock:
            self._watches -= {watch}
