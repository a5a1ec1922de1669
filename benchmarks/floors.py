"""The floors of SQLite: what the disk, SQLite, trio and the codec cost without a task library around them.

A turn without fences, history, policies or telemetry; one writer thread, group commit, WAL and `synchronous=FULL`, as
milepost uses them. Nothing that keeps its promises can be faster, so every figure is quoted as a share of these.
"""

from __future__ import annotations

import gc
import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import trio
from attrs import frozen
from cattrs.preconf.json import make_converter
from outcome import Outcome, capture

from milepost.ids import new_id

converter = make_converter()
SCHEMA = """
create table tasks(id integer primary key, name text not null, queue text not null, state text not null,
  priority int not null default 0, scheduled_at real not null, attempt int not null default 0,
  token int not null default 0, executor text, metadata text, execution_metadata text, result text,
  created_at real, finished_at real);
create index ready on tasks(queue, priority, scheduled_at, id) where state = 'pending';
"""
CLAIM = """update tasks set state = 'running', token = token + 1, attempt = attempt + 1, executor = 'me'
  where id in (select id from tasks where queue = 'default' and state = 'pending' and scheduled_at <= ?
               order by priority, scheduled_at, id limit ?)
  returning id, token, metadata, execution_metadata"""
SETTLE = """update tasks set state = 'completed', result = ?, finished_at = ?, executor = null
  where id = ? and token = ? and state = 'running'"""
INSERT = """insert into tasks(name, queue, state, scheduled_at, metadata, execution_metadata, created_at)
  values ('t', 'default', 'pending', ?, ?, ?, ?)"""


@frozen
class Metadata:
    """The request of a no-op."""

    n: int


@frozen
class Progress:
    """The progress of a no-op."""

    row: int = 0


@frozen
class Answer:
    """The result of a no-op."""

    n: int


async def no_op(metadata: Metadata, progress: Progress) -> Answer:
    """What a drain runs."""
    return Answer(metadata.n + progress.row)


class Writer:
    """One thread, one connection; each job is one transaction."""

    def __init__(self, path: Path) -> None:
        self._jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._loop, args=(path,), daemon=True).start()

    def _loop(self, path: Path) -> None:
        connection: Any = apsw.Connection(str(path))
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")

        def in_transaction(job: Callable[[Any], Any]) -> Any:
            connection.execute("begin immediate")
            try:
                value = job(connection)
                connection.execute("commit")
            except BaseException:
                connection.execute("rollback")
                raise
            return value

        while True:
            job, token, wake = self._jobs.get()
            if job is None:
                connection.close()
                token.run_sync_soon(wake, capture(lambda: None))
                return
            token.run_sync_soon(wake, capture(in_transaction, job))

    async def transact(self, job: Callable[[Any], Any] | None) -> Any:
        """Run `job` in a transaction; None closes."""
        me = trio.lowlevel.current_task()

        def wake(value: Outcome[Any]) -> None:
            trio.lowlevel.reschedule(me, value)

        self._jobs.put((job, trio.lowlevel.current_trio_token(), wake))
        return await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)


async def _drain(writer: Writer, total: int, slots: int) -> None:
    outbox: list[tuple[str, float, int, int]] = []
    done = running = 0
    wake = trio.Event()

    async def run(identity: int, token: int, metadata: str, progress: str) -> None:
        nonlocal running
        with trio.CancelScope():
            answer = await no_op(converter.loads(metadata, Metadata), converter.loads(progress, Progress))
            outbox.append((converter.dumps(answer), time.time(), identity, token))
        running -= 1
        wake.set()

    def turn(connection: Any, settled: list[Any], want: int) -> list[Any]:
        connection.executemany(SETTLE, settled)
        return list(connection.execute(CLAIM, (time.time(), want))) if want else []

    async with trio.open_nursery() as nursery:
        while done < total:
            settled, outbox[:] = outbox[:], []
            want = slots - running
            rows = await writer.transact(partial(turn, settled=settled, want=want))
            done += len(settled)
            running += len(rows)
            for row in rows:
                nursery.start_soon(run, *row)
            if not outbox and not rows and done < total:
                wake = trio.Event()
                await wake.wait()
            else:
                await trio.lowlevel.checkpoint()


@frozen
class Floor:
    """Per second: rows inserted as they are, rows encoded and inserted under fresh ids, tasks drained."""

    ready_rows: float
    encoded_rows: float
    drained: float


def forget_the_setting_up() -> None:
    """Let the garbage collector look no more at what was made so far: in production, a worker has not made the requests
    that it runs, and a collection that walks through 20,000 of them is no part of what is measured."""
    gc.collect()
    gc.freeze()


async def measure(path: Path, total: int, slots: int) -> Floor:
    """Enqueue `total` tasks in one transaction, twice, and drain as many with `slots`."""
    writer = Writer(path)
    await writer.transact(lambda c: list(c.execute(SCHEMA)))
    now = time.time()

    def encoded() -> list[Any]:
        return [(now, converter.dumps(Metadata(n)), converter.dumps(Progress()), now) for n in range(total) if new_id()]

    rows = encoded()
    begin = time.perf_counter()
    await writer.transact(lambda c: c.executemany(INSERT, rows))
    ready_rows = total / (time.perf_counter() - begin)
    forget_the_setting_up()
    begin = time.perf_counter()
    await _drain(writer, total, slots)
    drained = total / (time.perf_counter() - begin)
    begin = time.perf_counter()
    fresh = encoded()
    await writer.transact(lambda c: c.executemany(INSERT, fresh))
    encoded_rows = total / (time.perf_counter() - begin)
    await writer.transact(None)
    return Floor(ready_rows, encoded_rows, drained)


def one_row_commits(path: Path, total: int) -> float:
    """Commits of one row each, per second, on one connection without threads."""
    connection: Any = apsw.Connection(str(path))
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    list(connection.execute(SCHEMA))
    begin = time.perf_counter()
    for n in range(total):
        connection.execute(INSERT, (0.0, f'{{"n":{n}}}', "{}", 0.0))
    seconds = time.perf_counter() - begin
    connection.close()
    return total / seconds
