"""The worker of a thread that reads: one read transaction for each job, on a connection that cannot write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from milepost.errors import StoreDamaged, StoreUnreachable
from milepost.stores.protocol import Session
from milepost.stores.sqlite.driver import Connection
from milepost.stores.sqlite.opening import Opening
from milepost.stores.sqlite.session import SqliteSession
from milepost.stores.sqlite.ticker import Ticker
from milepost.stores.thread import Job


@final
class Reader:
    """Owns one connection, opened with the first job."""

    def __init__(self, opening: Opening, ticker: Ticker) -> None:
        self._opening = opening
        self._patience = opening.patience()
        self._ticker = ticker
        self._database: Connection | None = None

    def run(self, jobs: Sequence[Job[Session]]) -> None:
        """Answer each job from a snapshot of its own."""
        for job in jobs:
            try:
                self._run(job)
            except BaseException as error:
                job.fail(error)
                if isinstance(error, StoreUnreachable | StoreDamaged):
                    self.close()

    def rest(self) -> None:
        """Readers are in nobody's way."""

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _run(self, job: Job[Session]) -> None:
        if self._database is None:
            self._database = self._opening.reader(self._patience)
        database = self._database
        session = SqliteSession(database, self._ticker)
        database.execute("begin")
        try:
            job.succeed(job.function(session))
        finally:
            session.end()
            if database.in_transaction:
                database.execute("rollback")
