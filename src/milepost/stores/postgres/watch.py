"""Hints of other processes: one connection per store that LISTENs, in a thread of its own, while anybody watches.

A thread, and not trio's own `wait_readable`, because then one mechanism wakes trio tasks and plain threads alike, and
it outlives any one trio run; as measured, both take the same time. Hints may be lost with the connection: once there is
a new one, whoever watches is waked.
"""

from __future__ import annotations

import logging
import random
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Final, final

import psycopg
from psycopg import sql
from psycopg.pq.abc import PGconn

from milepost.errors import StoreError
from milepost.stores.postgres.faults import translated
from milepost.stores.postgres.hints import channel_of, heard_from
from milepost.stores.postgres.migrations import Connection
from milepost.stores.postgres.opening import open_connection
from milepost.stores.postgres.place import Place
from milepost.stores.protocol import ANY_HINT, Hint

_HEARTBEAT_SECONDS: Final = 15.0
_ANSWER_SECONDS: Final = 10.0
_FIRST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 10.0
_START_SECONDS_MAX: Final = 0.5
_log = logging.getLogger("milepost")


@final
class Listener:
    """Passes on to `tell` what other stores, and callers in transactions of their own, notify."""

    def __init__(
        self,
        place: Place,
        origin: str,
        tell: Callable[[Hint], None],
        *,
        heartbeat_seconds: float = _HEARTBEAT_SECONDS,
        answer_seconds: float = _ANSWER_SECONDS,
    ) -> None:
        self._place = place
        self._origin = origin
        self._tell = tell
        self._heartbeat_seconds = heartbeat_seconds
        self._answer_seconds = answer_seconds
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._listening = threading.Event()
        self._may_have_missed = False
        self._bell, self._rope = socket.socketpair()

    def start(self) -> None:
        """Begin to listen, once. Returns when it listens, or soon: then whoever watches is waked when it does."""
        with self._lock:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._keep_listening, name="milepost-listener", daemon=True)
                self._thread.start()
        if not self._listening.wait(_START_SECONDS_MAX):
            with self._lock:
                self._may_have_missed = not self._listening.is_set()

    def close(self) -> None:
        """Listen no more, and return when the thread has ended. May be called twice."""
        with self._lock:
            self._closing.set()
            self._rope.close()
        if self._thread is not None:
            self._thread.join()
        self._bell.close()

    def _keep_listening(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._closing.is_set():
            try:
                with closing(self._connect()) as connection:
                    pause = _FIRST_PAUSE_SECONDS
                    self._catch_up()
                    self._listen(connection)
            except (StoreError, psycopg.Error) as error:
                _log.debug("no hints from %s for now, work is found by polling: %s", self._place.url, error)
            with self._lock:
                self._may_have_missed = True
            self._closing.wait(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _connect(self) -> Connection:
        opened = open_connection(self._place)
        if opened.is_pooled and not self._listening.is_set():
            _log.info(
                "%s is behind a pooler: hints of other processes come only if it pools sessions, not transactions; "
                "otherwise work is found by polling",
                self._place.url,
            )
        connection = opened.connection
        try:
            # What arrives together with the answer to a statement is given to psycopg's own handlers.
            connection.add_notify_handler(lambda notify: self._heard(notify.payload))
            with translated():
                connection.execute(sql.SQL("listen {}").format(sql.Identifier(channel_of(self._place.schema))))
        except BaseException:
            connection.close()
            raise
        return connection

    def _catch_up(self) -> None:
        with self._lock:
            missed, self._may_have_missed = self._may_have_missed, False
            self._listening.set()
        if missed:
            self._tell(ANY_HINT)

    def _listen(self, connection: Connection) -> None:
        """Until the connection is lost or the store closes. Never waits for the server without a limit."""
        pgconn = connection.pgconn
        with selectors.DefaultSelector() as selector:
            selector.register(pgconn.socket, selectors.EVENT_READ)
            selector.register(self._bell, selectors.EVENT_READ)
            asked_at: float | None = None
            while True:
                ready = selector.select(self._heartbeat_seconds if asked_at is None else self._answer_seconds)
                if self._closing.is_set():
                    return
                if ready:
                    asked_at = None
                    self._hear(pgconn)
                elif asked_at is not None:
                    raise StoreError(f"no answer for {time.monotonic() - asked_at:.0f} seconds")
                else:
                    asked_at = time.monotonic()
                    pgconn.send_query(b"select 1")
                    pgconn.flush()

    def _hear(self, pgconn: PGconn) -> None:
        pgconn.consume_input()
        while not pgconn.is_busy() and pgconn.get_result() is not None:
            pass  # a heartbeat's answer; that there is one is all that it says
        while notify := pgconn.notifies():
            self._heard(notify.extra.decode(errors="replace"))

    def _heard(self, payload: str) -> None:
        hints = heard_from(payload, but=self._origin)
        if hints:
            self._tell(hints)
