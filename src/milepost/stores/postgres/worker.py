"""What an owned thread does with a job: one transaction on a connection of its own, and one COMMIT.

BEGIN brings the server's clock along, COMMIT the notification, so both cost one trip to the server. Nothing is
acknowledged before it is durable. A connection that died between two jobs is replaced unnoticed; one that dies under a
job undoes that job; one that dies under its COMMIT leaves the outcome open, and the caller is told so.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, final

import psycopg
from attrs import frozen
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from milepost.errors import CommitUnknown, StoreError, StoreReadOnly, StoreUnreachable
from milepost.stores.postgres.deadline import bounded
from milepost.stores.postgres.faults import fault_of, is_conflict, translated
from milepost.stores.postgres.hints import channel_of, payload_of
from milepost.stores.postgres.migrations import Connection
from milepost.stores.postgres.opening import Opened, open_connection, set_local
from milepost.stores.postgres.patience import answer_seconds
from milepost.stores.postgres.place import Place
from milepost.stores.postgres.session import PostgresSession
from milepost.stores.protocol import Hint, Session
from milepost.stores.thread import Job

_TRIES_MAX: Final = 5
_PAUSE_SECONDS: Final = 0.01
_SPARE_SECONDS: Final = 5.0
"""By how much the server's own limits exceed a bounded function's; they are there in case a cut does not arrive."""

_READING: Final = "begin isolation level repeatable read, read only; "
_WRITING: Final = "begin; "
_CLOCK: Final = "select clock_timestamp()"
_CLOSINGS_KEPT: Final = 64
"""A store has eight ways to close a transaction, one for each set of hints."""


@final
@frozen
class Office:
    """What the workers of one store share: where they connect, and whom they tell of their commits."""

    place: Place
    origin: str
    tell: Callable[[Hint], None]


@final
class Worker:
    """Owns one connection, opened with the first job."""

    def __init__(self, office: Office, *, reads_only: bool = False, settings: Mapping[str, str]) -> None:
        self._office = office
        self._reads_only = reads_only
        self._settings = settings
        self._answer_seconds = answer_seconds(office.place.statement_timeout)
        self._opened: Opened | None = None
        self._opening_words = b""

    def run(self, jobs: Sequence[Job[Session]]) -> None:
        """Answer each job from a transaction of its own."""
        for job in jobs:
            try:
                job.succeed(self._insist(job))
            except BaseException as error:
                job.fail(error)

    def rest(self) -> None:
        """Connections are in nobody's way."""

    def close(self) -> None:
        """Close the connection; the server undoes what was not committed."""
        if self._opened is not None:
            self._opened.connection.close()
            self._opened = None

    def _insist(self, job: Job[Session]) -> Any:
        """Run a job, and again when others were on the same rows: it was undone, so it may succeed now."""
        for tries in range(1, _TRIES_MAX + 1):
            try:
                return self._transaction(job)
            except Exception as error:
                if tries == _TRIES_MAX or not is_conflict(error):
                    raise
            time.sleep(random.uniform(0, _PAUSE_SECONDS * tries))
        raise AssertionError("unreachable: the last try returns or raises")

    def _transaction(self, job: Job[Session]) -> Any:
        connection, now = self._begin(job)
        session = PostgresSession(connection, self._office.place.schema, now=now, reads_only=self._reads_only)
        try:
            limit = nullcontext() if job.within_seconds is None else bounded(connection, job.within_seconds)
            with limit:
                value = job.function(session)
            _check_whole(connection)
        except BaseException as error:
            session.end()
            self._undo(connection, error)
            raise
        session.end()
        self._commit(connection, session.hints)
        return value

    def _begin(self, job: Job[Session]) -> tuple[Connection, datetime]:
        """An open transaction and the server's time. A connection that turns out to be dead is replaced once."""
        is_fresh = self._opened is None
        opened = self._opened or self._open()
        words, opened.connection.answer_seconds = self._opening_words, self._answer_seconds
        if job.within_seconds is not None:
            timeout = _timeout_for(job.within_seconds)
            limits = {"statement_timeout": timeout, "idle_in_transaction_session_timeout": timeout}
            words, opened.connection.answer_seconds = self._words_with(opened, limits), answer_seconds(timeout)
        try:
            with translated():
                return opened.connection, _now(opened.connection.execute(words))
        except StoreError as fault:
            self.close()
            if is_fresh or not isinstance(fault, StoreUnreachable):
                raise
        return self._begin(job)

    def _open(self) -> Opened:
        opened = self._opened = open_connection(self._office.place, self._settings)
        self._opening_words = self._words_with(opened, {})
        return opened

    def _words_with(self, opened: Opened, limits: Mapping[str, str]) -> bytes:
        settings = set_local({**opened.settings, **limits})
        return f"{_READING if self._reads_only else _WRITING}{settings}{_CLOCK}".encode()

    def _commit(self, connection: Connection, hints: Hint) -> None:
        try:
            connection.execute(_closing_words(self._office.place.schema, self._office.origin, hints))
        except psycopg.Error as error:
            if connection.closed:
                self.close()
                raise CommitUnknown(
                    "the connection to PostgreSQL was lost while a COMMIT was under way: it may or may not have "
                    f"happened; read again what it was about ({error})"
                ) from error
            self._undo(connection, error)
            raise fault_of(error) from error
        self._tidy(connection)
        self._office.tell(hints)

    def _undo(self, connection: Connection, error: BaseException) -> None:
        """Roll back. Raises if the connection is lost: that is what went wrong then, whatever user code made of it."""
        if not connection.closed:
            try:
                connection.execute("rollback")
            except psycopg.Error:
                self.close()
                return
            self._tidy(connection)
            if isinstance(error, StoreReadOnly):
                self.close()  # the next connection may lead to a server that can be written by then
            return
        self.close()
        if not isinstance(error, StoreError) and isinstance(error, Exception):
            raise StoreUnreachable(
                f"the connection to PostgreSQL was lost inside a transaction; nothing of it was written ({error})"
            ) from error

    def _tidy(self, connection: Connection) -> None:
        """Take back what user code may have set on the connection that it was shown."""
        if connection.row_factory is not tuple_row or connection.cursor_factory is not psycopg.Cursor:
            connection.row_factory, connection.cursor_factory = tuple_row, psycopg.Cursor
        if not connection.autocommit:
            self.close()


@lru_cache(_CLOSINGS_KEPT)
def _closing_words(schema: str, origin: str, hints: Hint) -> bytes:
    if not hints:
        return b"commit"
    notify = sql.SQL("select pg_notify({}, {}); commit")
    return notify.format(channel_of(schema), payload_of(hints, origin)).as_string().encode()


def _timeout_for(seconds: float) -> str:
    """A bounded job's own limit on the server, instead of the one of every other transaction."""
    return f"{round(1_000 * (seconds + _SPARE_SECONDS))}ms"


def _now(cursor: psycopg.Cursor[tuple[Any, ...]]) -> datetime:
    while cursor.nextset():
        pass
    row = cursor.fetchone()
    moment: datetime = row[0] if row else datetime.min
    return moment.astimezone(UTC)


def _check_whole(connection: Connection) -> None:
    """Refuse to commit what is not the whole transaction: COMMIT of a broken one is a silent ROLLBACK."""
    status = connection.info.transaction_status
    if status is TransactionStatus.INERROR:
        raise StoreError("a statement failed in this transaction and undid it; let its exception out of the function")
    if status is not TransactionStatus.INTRANS:
        raise StoreError("the function ended the transaction that it was lent; neither commit nor roll back inside it")
