"""The worker of the one thread that writes: jobs in batches, one transaction and one COMMIT for each batch.

A job's own exception undoes that job only. What befalls the whole transaction befalls every job in it, as a
`StoreError`; nothing is acknowledged before it is durable.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, final

from milepost.errors import EffectTimeout, StoreDamaged, StoreError, StoreUnreachable
from milepost.stores.protocol import Hint, Session
from milepost.stores.sqlite.driver import Connection
from milepost.stores.sqlite.opening import Opening
from milepost.stores.sqlite.session import SqliteSession, stamp
from milepost.stores.sqlite.ticker import Bulletin, Ticker
from milepost.stores.thread import Job


class _Done(NamedTuple):
    """A job that did its work in a transaction that has not been committed yet."""

    job: Job[Session]
    value: Any
    session: SqliteSession


@final
class Writer:
    """Owns the connection that writes, and opens it anew after a fault of the disk."""

    def __init__(self, opening: Opening, ticker: Ticker, bulletin: Bulletin) -> None:
        self._opening = opening
        self._patience = opening.patience()
        self._ticker = ticker
        self._bulletin = bulletin
        self._database: Connection | None = None
        self._syncs = True

    def run(self, jobs: Sequence[Job[Session]]) -> None:
        """Answer every job; more than one transaction is needed only when one was lost on the way."""
        try:
            while jobs:
                jobs = self._transaction(jobs)
        except BaseException:
            self.close()  # whatever this was, the next job must not find a transaction half done
            raise

    def rest(self) -> None:
        """Let other processes have a turn."""
        self._patience.give_way()

    def close(self) -> None:
        """Close the file. SQLite folds the log into it if nobody else has it open."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _transaction(self, jobs: Sequence[Job[Session]]) -> Sequence[Job[Session]]:
        """Run jobs up to the first that loses the transaction; return those after it."""
        try:
            database = self._ready()
            self._sync(database, any(job.durable for job in jobs))
            self._patience.insist(lambda: database.execute("begin immediate"))
        except StoreError as fault:
            self._mend(fault)
            _fail_each(jobs, fault)
            return ()
        batch = _Batch(database, self._ticker, is_shared=len(jobs) > 1)
        for place, job in enumerate(jobs, 1):
            loss = batch.run(job)
            if loss is not None:
                self._mend(loss)
                batch.abandon(loss)
                return jobs[place:]
        self._commit(batch)
        return ()

    def _commit(self, batch: _Batch) -> None:
        try:
            hints = batch.commit(self._bulletin)
        except StoreError as fault:
            batch.abandon(fault)
            self._mend(fault)
            return
        self._bulletin.tell(hints)

    def _ready(self) -> Connection:
        if self._database is None:
            self._database = self._opening.writer(self._patience)
            self._syncs = True
        return self._database

    def _sync(self, database: Connection, syncs: bool) -> None:
        # The log is written in order, so the next commit that syncs it makes the one before it durable as well.
        if syncs is not self._syncs:
            database.execute(f"pragma synchronous = {'full' if syncs else 'normal'}")
            self._syncs = syncs

    def _mend(self, fault: BaseException) -> None:
        # After a fault of the disk the connection's own picture of the file cannot be trusted any more.
        if isinstance(fault, StoreUnreachable | StoreDamaged):
            self.close()


@final
class _Batch:
    """One open transaction and the jobs that have run in it."""

    def __init__(self, database: Connection, ticker: Ticker, *, is_shared: bool) -> None:
        self._database = database
        self._ticker = ticker
        self._is_shared = is_shared
        self._changes = database.changes
        self._done: list[_Done] = []

    def run(self, job: Job[Session]) -> BaseException | None:
        """Run one job; return what it lost the transaction by, if it did, having answered that job."""
        session = SqliteSession(self._database, self._ticker)
        try:
            if self._is_shared:
                self._database.execute("savepoint milepost_job")
            if job.within_seconds is None:
                value = job.function(session)
            else:
                with _bounded(self._database, job.within_seconds):
                    value = job.function(session)
            if self._is_shared:
                self._database.execute("release milepost_job")
        except BaseException as error:
            job.fail(error)
            return None if self._undone() else error
        finally:
            session.end()
        self._done.append(_Done(job, value, session))
        return None

    def commit(self, bulletin: Bulletin) -> Hint:
        """Make it durable, answer the jobs with their values, and return what they may have changed."""
        if self._database.changes == self._changes:
            self._database.execute("commit")
        else:
            times = (done.session.newest for done in self._done if done.session.newest is not None)
            stamp(self._database, max(times, default=None))
            with bulletin.committing():
                self._database.execute("commit")
        hints = Hint(0)
        for done in self._done:
            done.job.succeed(done.value)
            hints |= done.session.hints
        return hints

    def abandon(self, loss: BaseException) -> None:
        """Roll back, and tell those who thought they were done."""
        if self._database.in_transaction:
            _roll_back(self._database)
        fault = (
            loss if isinstance(loss, StoreError) else StoreError(f"a job that shared the transaction lost it: {loss!r}")
        )
        _fail_each((done.job for done in self._done), fault)

    def _undone(self) -> bool:
        """Undo the last job only; False if that cannot be done without the whole transaction."""
        if not self._is_shared or not self._database.in_transaction:
            return False
        try:
            self._database.execute("rollback to milepost_job")
            self._database.execute("release milepost_job")
        except StoreError:  # the job has ended the transaction that it was lent, or begun another
            return False
        return True


@contextmanager
def _bounded(database: Connection, seconds: float) -> Generator[None]:
    """Cut the SQL of what takes longer, and refuse it in the end if it was not SQL that took so long."""
    end = time.monotonic() + seconds
    was_cut = False

    def overdue() -> bool:
        nonlocal was_cut
        was_cut = time.monotonic() > end
        return was_cut

    database.interrupt_when(overdue)
    try:
        yield
    except Exception as error:
        if was_cut:
            raise _late(seconds) from error
        raise
    finally:
        database.interrupt_when(None)
    if time.monotonic() > end:
        raise _late(seconds)


def _late(seconds: float) -> EffectTimeout:
    return EffectTimeout(f"the transaction took longer than {seconds:g} seconds and was rolled back; do less in it")


def _roll_back(database: Connection) -> None:
    try:
        database.execute("rollback")
    except StoreError:
        return  # the connection is beyond use, and the next job's BEGIN will say so


def _fail_each(jobs: Iterable[Job[Session]], fault: StoreError) -> None:
    """An exception of its own for each: raised in several tasks, one would collect the tracebacks of all."""
    for job in jobs:
        own = type(fault)(*fault.args)
        own.__cause__ = fault.__cause__
        job.fail(own)
