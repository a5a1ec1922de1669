"""The demo's director: enqueues the tasks, kills the process that runs them, lets another take over, and compares.

It looks at the tasks through a `Client`, as any other program would. The comparison is with a walk over the same files
that knows nothing of tasks.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from attrs import define, field, frozen

from milepost import Client, TaskId, TaskQuery, TaskRecord, TaskState, open_store
from milepost.demo.display import Display, Killed, Report
from milepost.demo.index import Progress, Shard, index_shard, index_step, shards_of
from milepost.demo.symbols import CREATE_TABLE, INSERT, INSERT_POSTGRES, SELECT, Row, rows_of
from milepost.demo.worker import STORE_VARIABLE
from milepost.stores.protocol import Session

SHARDS = 8
_LOOK_SECONDS = 0.01
_STOP_SECONDS = 10


class DemoFailed(Exception):
    """The demo cannot go on; the message says why, for people."""


@frozen
class Kill:
    """When to kill: once this share of the files is indexed, and then a moment later."""

    share: float
    delay_seconds: float


@frozen(kw_only=True)
class Plan:
    """All that one demo is to do."""

    root: Path
    files: Sequence[str]
    url: str
    log: Path
    kills: Sequence[Kill]
    pure: bool
    seed: int
    lease_seconds: float

    @property
    def shards(self) -> Sequence[Shard]:
        """The requests, with the SQL of the store's database."""
        insert = INSERT if self.url.startswith("sqlite:") else INSERT_POSTGRES
        return shards_of(self.root, self.files, count=SHARDS, insert=insert)


@frozen
class Look:
    """The tasks as they are stored at one moment, in order."""

    records: Sequence[TaskRecord]

    @property
    def next_files(self) -> tuple[int, ...]:
        """Of each task, the file that it goes on with."""
        return tuple(_progress(record).next_file for record in self.records)

    @property
    def claims(self) -> int:
        """How often the tasks were claimed so far, in all."""
        return sum(record.fence for record in self.records)

    @property
    def owned(self) -> frozenset[tuple[TaskId, str | None]]:
        """The tasks that run, each with the executor that owns it."""
        return frozenset((each.id, each.executor) for each in self.records if each.state is TaskState.RUNNING)

    @property
    def is_over(self) -> bool:
        """Whether no task will run any more."""
        return all(record.state.is_final or record.state is TaskState.QUARANTINED for record in self.records)


@define
class Supervisor:
    """One demo in progress."""

    plan: Plan
    display: Display
    client: Client
    ids: Sequence[TaskId] = ()
    orphans: frozenset[tuple[TaskId, str | None]] = frozenset()
    killed: list[Killed] = field(factory=list[Killed])
    direct: list[Row] = field(factory=list[Row])
    walked: trio.Event = field(factory=trio.Event)

    async def direct_the_demo(self) -> Report:
        """Everything from the empty table to the report."""
        started_at = trio.current_time()
        await self._enqueue()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._walk)
            for kill in [*self.plan.kills, None]:
                await self._let_work(kill)
            await self.walked.wait()
        return await self._report(trio.current_time() - started_at)

    async def _enqueue(self) -> None:
        await self.client.store.transact(_create_table)
        task = index_step if self.plan.pure else index_shard
        handles = await self.client.enqueue_all(task.with_metadata(shard) for shard in self.plan.shards)
        self.ids = [handle.id for handle in handles]

    async def _walk(self) -> None:
        """The uncut walk, in a thread beside the first worker."""

        def walk() -> list[Row]:
            return [row for file in self.plan.files for row in rows_of(file, (self.plan.root / file).read_bytes())]

        self.direct = await trio.to_thread.run_sync(walk, abandon_on_cancel=True)
        self.walked.set()

    async def _let_work(self, kill: Kill | None) -> None:
        """Let one worker process work until it is its time to die, or until there is nothing left to do."""
        before = await self._look()
        if kill is None and before.is_over:
            return
        async with _worker(self.plan) as process:
            self.display.tell(f"worker {process.pid} started")
            await self._watch(process, kill, claims=before.claims)
            if kill is None:
                await _stop(process)
                return
            await trio.sleep(kill.delay_seconds)
            process.kill()
            await process.wait()
            self._remember(process.pid, await self._look())

    async def _watch(self, process: trio.Process, kill: Kill | None, *, claims: int) -> None:
        total = len(self.plan.files)
        while True:
            look = await self._look()
            done = sum(look.next_files)
            self.display.progress(done, total, process.pid)
            if self.orphans and look.claims > claims and not self.orphans & look.owned:
                self.orphans = frozenset()
                self.display.tell(f"worker {process.pid} took over")
            # A worker is killed once it has claimed something, so that each of them has something to lose.
            is_time = kill is not None and look.claims > claims and done >= kill.share * total
            if is_time or look.is_over:
                return
            if process.returncode is not None:
                last = _last_line(self.plan.log)
                raise DemoFailed(f"worker {process.pid} ended by itself ({process.returncode}): {last}")
            await trio.sleep(_LOOK_SECONDS)

    def _remember(self, pid: int, look: Look) -> None:
        done = sum(look.next_files)
        sizes = tuple(len(shard.files) for shard in self.plan.shards)
        self.killed.append(Killed(pid, done, look.next_files, sizes))
        self.orphans = look.owned
        self.display.tell(f"worker {pid} killed at file {done:,} of {len(self.plan.files):,}")

    async def _look(self) -> Look:
        page = await self.client.search(TaskQuery().with_id(*self.ids))
        return Look(page.records)

    async def _report(self, seconds: float) -> Report:
        look = await self._look()
        unfinished = [record for record in look.records if record.state is not TaskState.COMPLETED]
        if unfinished:
            raise DemoFailed("; ".join(_why(record) for record in unfinished))
        # What the database says to somebody who comes new.
        async with open_store(self.plan.url) as store:
            table = await store.read(lambda session: session.transaction.execute(SELECT))
        expected, found = Counter(self.direct), Counter(_row(row) for row in table)
        return Report(
            variant="pure steps" if self.plan.pure else "commit_with",
            seed=self.plan.seed,
            files=len({row[0] for row in found}),
            expected_files=len(self.plan.files),
            tasks=len(self.ids),
            symbols=len(table),
            unparsable=sum(row[1] == "error" for row in table),
            killed=tuple(self.killed),
            rows_lost=(expected - found).total(),
            rows_repeated=(found - expected).total(),
            seconds=seconds,
        )


async def run_demo(plan: Plan, display: Display) -> Report:
    """Carry out `plan`. Raises `DemoFailed` or what the store raises; whatever happens, no process is left behind."""
    async with open_store(plan.url) as store:
        return await Supervisor(plan, display, Client(store)).direct_the_demo()


@asynccontextmanager
async def _worker(plan: Plan) -> AsyncGenerator[trio.Process, None]:
    command = [sys.executable, "-m", "milepost.demo.worker", str(plan.lease_seconds)]
    # Not as an argument: everybody on the machine can read those, and there may be a password in it.
    environment = {**os.environ, STORE_VARIABLE: plan.url}
    with plan.log.open("ab") as log:
        # A session of its own: Ctrl-C is for the supervisor, which then ends the worker.
        process = await trio.lowlevel.open_process(
            command, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await _close(process)


async def _stop(process: trio.Process) -> None:
    """Let a worker stop by itself: it does when its standard input ends."""
    await _close(process)
    with trio.move_on_after(_STOP_SECONDS):
        await process.wait()
    if process.returncode not in (0, -signal.SIGKILL):
        raise DemoFailed(f"worker {process.pid} did not stop cleanly ({process.returncode})")


async def _close(process: trio.Process) -> None:
    if process.stdin is not None:
        await process.stdin.aclose()


def _create_table(session: Session) -> None:
    try:
        session.transaction.execute(CREATE_TABLE)
    except Exception as error:  # the driver's own
        raise DemoFailed(
            f"it needs a database without a table named symbol, and a right to make one: {error}"
        ) from error


def _progress(record: TaskRecord) -> Progress:
    decoded = index_shard.codec.execution_metadata.decode(record.execution_metadata_json)
    progress: Progress = decoded.unwrap()
    return progress


def _row(row: tuple[object, ...]) -> Row:
    file, kind, name, line, docstring = row
    return (str(file), str(kind), str(name), int(str(line)), int(str(docstring)))


def _why(record: TaskRecord) -> str:
    said = record.crash.message if record.crash is not None else record.error
    return f"task {record.id} is {record.state.value}: {said}"


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
