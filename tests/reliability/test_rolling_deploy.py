"""Two versions of a program on one store, deployed and rolled back under load: nothing is lost, nothing fails."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import final

import pytest
import trio

from milepost import (
    Client,
    HistoryKind,
    Store,
    TaskQuery,
    TaskRecord,
    TaskRequest,
    TaskState,
    check_compatibility,
    open_store,
)
from tests.database import store_url
from tests.executor.kit import sql, until_async
from tests.reliability import deployed
from tests.reliability.deployed import Order1, Order2, first, no_line, second

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
EACH = 40
"""How many tasks of each version are enqueued at a time."""

WELL = {
    HistoryKind.ENQUEUED,
    HistoryKind.CLAIMED,
    HistoryKind.SUSPENDED,
    HistoryKind.INTERRUPTED,
    HistoryKind.COMPLETED,
}
OLD, NEW = first(no_line), second(no_line)


@final
class Deployment:
    """The processes of a program in its two versions, on one store, and what was asked of them."""

    def __init__(self, store: Store, url: str) -> None:
        self.store = store
        self.client = Client(store)
        self.enqueued = 0
        self.running: list[subprocess.Popen[bytes]] = []
        self._url = url

    async def start(self, version: int) -> subprocess.Popen[bytes]:
        """A process of this version, once it works."""
        process = self._spawn(version)
        assert process.stdout is not None
        assert await trio.to_thread.run_sync(process.stdout.readline) == b"started\n"
        return process

    def _spawn(self, version: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.reliability.deployed", self._url, str(version)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
        self.running.append(process)
        return process

    async def stop(self, process: subprocess.Popen[bytes]) -> None:
        """End it as a deployment does."""
        process.send_signal(signal.SIGTERM)
        assert await trio.to_thread.run_sync(process.wait) == 0

    async def enqueue(self, version: int) -> None:
        """More tasks, by a client of this version."""
        numbers = range(self.enqueued, self.enqueued + EACH)
        requests: list[TaskRequest] = [
            OLD.with_metadata(Order1(n)) if version == 1 else NEW.with_metadata(Order2(str(n), True)) for n in numbers
        ]
        await self.client.enqueue_all(requests)
        self.enqueued += EACH

    async def lines(self, version: int | None = None) -> int:
        """How many lines the ledger has, all or those of a version."""
        by = "" if version is None else f" where version = {version}"
        ((count,),) = await sql(self.store, f"select count(*) from ledger{by}")
        return int(count)

    async def until_lines(self, more: int, version: int | None = None) -> None:
        """Wait until the ledger has so many lines more than now."""
        wanted = await self.lines(version) + more

        async def enough() -> bool:
            return await self.lines(version) >= wanted

        await until_async(enough, f"{wanted} lines of {version or 'any version'}", seconds=30)

    async def until_done(self) -> None:
        """Wait until no task is live."""

        async def done() -> bool:
            return await self.client.count(TaskQuery().live()) == 0

        await until_async(done, "the end of all tasks", seconds=30)

    async def audit(self) -> dict[int, set[int]]:
        """Every task completed, every step booked once, and nothing went wrong on the way; who booked each task."""
        records: list[TaskRecord] = []
        page = await self.client.search(TaskQuery().with_page_size(1_000))
        records += page.records
        assert Counter(record.state for record in records) == {TaskState.COMPLETED: self.enqueued}
        assert {record.failures for record in records} == {0}
        for record in records:
            kinds = {line.kind for line in await self.client.history(record.id)}
            assert kinds <= WELL, (record, kinds - WELL)
        booked = await sql(self.store, "select task, step, version from ledger")
        assert Counter((number, step) for number, step, _ in booked) == Counter(
            (number, step) for number in range(self.enqueued) for step in range(deployed.STEPS)
        )
        versions: dict[int, set[int]] = {}
        for number, _, version in booked:
            versions.setdefault(number, set()).add(version)
        return versions

    def kill(self) -> None:
        """End whatever still lives."""
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    found = store_url(request.param, request, tmp_path)
    # So that the same SQL finds the same tables.
    return f"{found}&options=-csearch_path%3Dpublic,milepost" if request.param == "postgres" else found


@pytest.fixture
async def store(url: str) -> AsyncGenerator[Store]:
    async with open_store(url) as opened:
        await sql(opened, deployed.CREATE)
        yield opened


@pytest.fixture
def deployment(store: Store, url: str) -> Generator[Deployment]:
    made = Deployment(store, url)
    yield made
    made.kill()


async def test_a_new_version_takes_over_from_the_old_one_under_load(deployment: Deployment) -> None:
    old = await deployment.start(1)
    await deployment.enqueue(1)
    await deployment.until_lines(20)
    assert (await check_compatibility(deployment.store, [NEW])).is_clean
    new = await deployment.start(2)
    for version in (2, 1, 2, 1):  # clients are deployed one by one as well
        await deployment.enqueue(version)
    await deployment.until_lines(20, version=2)
    await deployment.stop(old)
    await deployment.enqueue(2)
    await deployment.until_done()
    await deployment.stop(new)
    booked_by = await deployment.audit()
    assert any(versions == {1, 2} for versions in booked_by.values()), "no task went from the old one to the new one"
    assert any(versions == {1} for versions in booked_by.values())


async def test_a_new_version_is_rolled_back_under_load_and_comes_again(deployment: Deployment) -> None:
    new = await deployment.start(2)
    await deployment.enqueue(2)
    await deployment.until_lines(20)
    old = await deployment.start(1)
    for version in (1, 2, 1):
        await deployment.enqueue(version)
    await deployment.until_lines(20, version=1)
    await deployment.stop(new)
    await deployment.enqueue(1)

    async def only_newer_rows_wait() -> bool:
        live = (await deployment.client.search(TaskQuery().live().with_page_size(1_000))).records
        return {record.version for record in live} == {2} and not any(record.executor for record in live)

    await until_async(only_newer_rows_wait, "the old version to leave only newer rows", seconds=30)
    found = await check_compatibility(deployment.store, [OLD])
    assert (found.is_clean, [each.version for each in found.newer]) == (True, [2])
    again = await deployment.start(2)
    await deployment.until_done()
    await deployment.stop(old)
    await deployment.stop(again)
    booked_by = await deployment.audit()
    assert any(versions == {2} for versions in booked_by.values())
    assert any(versions == {1} for versions in booked_by.values())
