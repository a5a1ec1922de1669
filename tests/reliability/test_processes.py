"""Real processes that are killed, frozen, restarted, and that kill themselves: the quick tier."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import apsw
import pytest
import trio

from milepost import Client, Crash, CrashKind, HistoryKind, Store, Success, TaskQuery, TaskState, open_store
from milepost.stores.protocol import Lease
from tests.executor.kit import enqueue, sql, until_async
from tests.reliability import worker

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
MANY = 1_000_000
TIMES = int(os.environ.get("MILEPOST_SOAK", "1"))
"""How many times as many kills and restarts as in the quick tier; `make soak` sets it."""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[Store]:
    async with open_store(f"sqlite:///{tmp_path / 'tasks.db'}") as opened:
        await sql(opened, worker.CREATE)
        yield opened


@pytest.fixture(params=["sqlite", "postgres"])
async def each_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Store]:
    """An empty store of each kind that processes can share, with a ledger."""
    url = f"sqlite:///{tmp_path / 'tasks.db'}"
    if request.param == "postgres":
        # So that the same SQL finds the same tables.
        url = f"{request.getfixturevalue('postgres_url')}&options=-csearch_path%3Dpublic,milepost"
    async with open_store(url) as opened:
        await sql(opened, worker.CREATE)
        yield opened


@final
class Fleet:
    """Worker processes on one store, each with a file of what it told."""

    def __init__(self, url: str, folder: Path, stalls_max: int) -> None:
        self._url = url
        self._folder = folder
        self._stalls_max = stalls_max
        self.all: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        """A fresh interpreter."""
        command = [sys.executable, "-m", "tests.reliability.worker", self._url, str(self._stalls_max)]
        with (self._folder / f"worker-{len(self.all)}.txt").open("wb") as told:
            process = subprocess.Popen(command, stdout=told, stderr=subprocess.STDOUT, cwd=ROOT)
        self.all.append(process)
        return process

    def told(self, process: subprocess.Popen[bytes]) -> Counter[str]:
        """What it has told so far, counted."""
        text = (self._folder / f"worker-{self.all.index(process)}.txt").read_text()
        return Counter(text.split("\n"))

    def stop(self) -> None:
        """End whatever still lives."""
        for process in self.all:
            if process.poll() is None:
                process.kill()
                process.wait()


@contextmanager
def fleet(store: Store, folder: Path, *, stalls_max: int = MANY) -> Generator[Fleet]:
    workers = Fleet(store.url, folder, stalls_max)
    try:
        yield workers
    finally:
        workers.stop()


async def leases(store: Store) -> list[Lease]:
    return await store.read(lambda session: session.leases())


async def holds_a_lease(store: Store, process: subprocess.Popen[bytes]) -> bool:
    return any(lease.pid == process.pid for lease in await leases(store))


async def until_at_work(store: Store, process: subprocess.Popen[bytes]) -> None:
    await until_async(lambda: holds_a_lease(store, process), "a worker to come up", seconds=30)


async def until_all_are(store: Store, state: TaskState, count: int, *, seconds: float) -> None:
    async def reached() -> bool:
        return await Client(store).count(TaskQuery().with_state(state)) == count

    await until_async(reached, f"{count} tasks to be {state.value}", seconds=seconds)


async def kinds_of_all(store: Store) -> Counter[str]:
    return Counter(dict(await sql(store, "select kind, count(*) from milepost_history group by kind")))


async def assert_booked_once(store: Store, tasks: int) -> None:
    """Every task is final once, and every one of its effects is there once."""
    entries = await sql(store, "select task, step, count(*) from ledger group by task, step order by task, step")
    assert entries == [(task, step, 1) for task in range(tasks) for step in range(worker.STEPS + 1)]
    kinds = await kinds_of_all(store)
    assert kinds[HistoryKind.COMPLETED.value] == tasks
    assert kinds[HistoryKind.RETRY_SCHEDULED.value] == 0
    assert await sql(store, "select distinct failures, epoch, sequence from milepost_task") == [(0, 1, worker.STEPS)]
    assert await sql(store, "pragma integrity_check") == [("ok",)]


async def test_a_hundred_kills_lose_nothing_and_repeat_no_effect(store: Store, tmp_path: Path) -> None:
    kills, wave = 100 * TIMES, 20
    chance = random.Random(7)
    with fleet(store, tmp_path) as workers:
        living = [workers.start() for _ in range(4)]
        for number in range(kills):
            await enqueue(store, *(worker.book.with_metadata(number * wave + n) for n in range(wave)))
            victim = living.pop(0)
            await until_at_work(store, victim)
            await trio.sleep(chance.uniform(0, 0.03))  # a kill has to come at some moment, and any will do
            victim.kill()
            victim.wait()
            living.append(workers.start())
        await until_all_are(store, TaskState.COMPLETED, kills * wave, seconds=60 * TIMES)
        await assert_booked_once(store, kills * wave)
    kinds = await kinds_of_all(store)
    assert kinds[HistoryKind.RECLAIMED.value] >= 50, "too few tasks were cut for this to mean anything"


def is_locked(store: Store) -> bool:
    """Whether somebody holds the file's write lock at this moment."""
    connection: Any = apsw.Connection(store.url.removeprefix("sqlite:///"))
    try:
        connection.set_busy_timeout(0)
        connection.execute("begin immediate")
    except apsw.BusyError:
        return True
    else:
        connection.execute("rollback")
        return False
    finally:
        connection.close()


async def freeze(store: Store, process: subprocess.Popen[bytes]) -> None:
    """Stop the process outside of its transactions: inside one it would keep the whole file locked."""
    while True:
        process.send_signal(signal.SIGSTOP)
        _, status = await trio.to_thread.run_sync(os.waitpid, process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        if not is_locked(store):
            return
        process.send_signal(signal.SIGCONT)


async def test_a_process_that_was_frozen_past_its_lease_writes_nothing_that_was_taken_over(
    store: Store, tmp_path: Path
) -> None:
    with fleet(store, tmp_path) as workers:
        frozen = workers.start()
        await until_at_work(store, frozen)
        ids = await enqueue(store, *(worker.march.with_metadata(150) for _ in range(5)))

        async def under_way() -> bool:
            records = await store.read(lambda session: session.get(ids))
            return all(record.sequence > 3 for record in records)

        await until_async(under_way, "the tasks to be under way")
        await freeze(store, frozen)
        heir = workers.start()

        async def taken_over() -> bool:
            records = await store.read(lambda session: session.get(ids))
            return all(record.fence == 2 for record in records)

        await until_async(taken_over, "another process to take over", seconds=20)
        frozen.send_signal(signal.SIGCONT)
        await until_all_are(store, TaskState.COMPLETED, 5, seconds=30)
        await until_async(lambda: _told(workers, frozen, "LeaseLost", 1), "the frozen process to notice")
        told = workers.told(frozen)
        assert told["RunDiscarded"] == 5
        assert told["AttemptEnded"] == 0
        for process in (frozen, heir):
            process.terminate()
            assert await trio.to_thread.run_sync(process.wait) == 0

    by_row = [pid for (pid,) in await sql(store, "select pid from ledger order by rowid")]
    assert frozen.pid in by_row
    assert frozen.pid not in by_row[by_row.index(heir.pid) :], "the frozen process wrote after it was relieved"
    assert await sql(store, "select count(*) from (select distinct step, pid from ledger)") != [(0,)]
    assert len(by_row) == 5 * 150
    kinds = await kinds_of_all(store)
    assert (kinds[HistoryKind.RECLAIMED.value], kinds[HistoryKind.RETRY_SCHEDULED.value]) == (5, 0)
    assert await sql(store, "select distinct failures, fence from milepost_task") == [(0, 2)]


async def _told(workers: Fleet, process: subprocess.Popen[bytes], what: str, times: int) -> bool:
    return workers.told(process)[what] >= times


async def test_fifty_graceful_restarts_cost_no_attempt_and_leave_nothing_owned(
    each_store: Store, tmp_path: Path
) -> None:
    store, restarts, wave = each_store, 50 * TIMES, 4
    with fleet(store, tmp_path, stalls_max=5) as workers:
        living = [workers.start() for _ in range(3)]
        for _ in range(restarts):
            await enqueue(store, *(worker.walk.with_metadata(30) for _ in range(wave)))
            leaving = living.pop(0)
            await until_at_work(store, leaving)
            leaving.terminate()
            living.append(workers.start())
            assert await trio.to_thread.run_sync(leaving.wait) == 0, workers.told(leaving)
            assert not await holds_a_lease(store, leaving)
            owners = {owner for (owner,) in await sql(store, "select distinct executor from milepost_task")} - {None}
            assert owners <= {lease.executor for lease in await leases(store)}
        await until_all_are(store, TaskState.COMPLETED, restarts * wave, seconds=60 * TIMES)
        for process in living:
            await until_at_work(store, process)  # a signal that comes while a process still imports ends it
            process.terminate()
            assert await trio.to_thread.run_sync(process.wait) == 0
    assert await leases(store) == []
    assert await sql(store, "select distinct failures, stalls, sequence from milepost_task") == [(0, 0, 30)]
    kinds = await kinds_of_all(store)
    assert kinds[HistoryKind.COMPLETED.value] == restarts * wave
    assert kinds[HistoryKind.RECLAIMED.value] == 0
    assert kinds[HistoryKind.INTERRUPTED.value] >= 20, "too few tasks were cut for this to mean anything"


async def test_a_task_that_kills_its_process_is_quarantined_after_five_claims_and_its_neighbours_finish(
    each_store: Store, tmp_path: Path
) -> None:
    store, client = each_store, Client(each_store)
    with fleet(store, tmp_path, stalls_max=5) as workers:
        deadly = await client.enqueue(worker.deadly.with_metadata(1))
        await enqueue(store, *(worker.book.with_metadata(n) for n in range(20)))
        ended: list[Any] = []
        with trio.fail_after(60):
            while not ended:
                process = workers.start()
                code: list[int] = []

                async def wait(process: subprocess.Popen[bytes] = process, code: list[int] = code) -> bool:
                    found = process.poll()
                    if found is not None:
                        code.append(found)
                    state = (await client.get(deadly.id)).unwrap().state
                    if state is TaskState.QUARANTINED:
                        ended.append(state)
                    return found is not None or bool(ended)

                await until_async(wait, "the process to be killed", seconds=30)
                assert code in ([], [-signal.SIGKILL])
        deaths = sum(process.poll() == -signal.SIGKILL for process in workers.all)
        outcome = await deadly.wait(10)
        await until_all_are(store, TaskState.COMPLETED, 20, seconds=30)
        after = await client.enqueue(worker.walk.with_metadata(1))
        assert await after.wait(20) == Success.with_result(1)
    assert isinstance(outcome, Crash)
    assert outcome.kind is CrashKind.STALLED
    assert deaths == 5
    record = (await client.get(deadly.id)).unwrap()
    # Claims that were given back unused, since another suspect ran, raise the fence as well.
    assert record.fence >= 6
    assert (record.failures, record.executor) == (0, None)
    entries = await sql(store, "select task, step, count(*) from ledger group by task, step order by task, step")
    assert entries == [(n, step, 1) for n in range(20) for step in range(worker.STEPS + 1)]
    completed = await client.count(TaskQuery.for_task(worker.book).with_state(TaskState.COMPLETED))
    assert completed == 20
