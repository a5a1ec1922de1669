"""The client for programs without trio: plain threads, while the executor is in another thread or process."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import trio

from milepost import (
    BlockingClient,
    Crash,
    CrashKind,
    StoreClosed,
    StoreUrlError,
    Success,
    TaskQuery,
    open_executor,
    open_store,
)
from tests.client.threaded import Order, Part, Progress, bill, ship
from tests.executor.kit import PATIENCE_SECONDS, quick

EXECUTOR = """
import sys
import trio
from milepost import open_executor, open_store
from tests.client.threaded import bill, ship
from tests.executor.kit import quick

async def main():
    async with open_store(sys.argv[1]) as store, open_executor(store, [bill, ship], config=quick()):
        print("ready", flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)

trio.run(main)
"""


@contextmanager
def executor_in_a_process(url: str) -> Generator[None]:
    """An executor of its own, until the end of the block."""
    command = [sys.executable, "-c", EXECUTOR, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(PATIENCE_SECONDS) == 0
        finally:
            process.kill()


@contextmanager
def executor_in_a_thread(url: str) -> Generator[None]:
    """The same in a thread of this process, with a store of its own."""
    ready, leave = threading.Event(), threading.Event()

    async def main() -> None:
        async with open_store(url) as store, open_executor(store, [bill, ship], config=quick()):
            ready.set()
            await trio.to_thread.run_sync(leave.wait)

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    try:
        assert ready.wait(PATIENCE_SECONDS)
        yield
    finally:
        leave.set()
        thread.join(PATIENCE_SECONDS)


@pytest.mark.slow
@pytest.mark.parametrize("url", ["apsw", "sqlite3", "postgres"], indirect=True)
@pytest.mark.parametrize("executor", [executor_in_a_thread, executor_in_a_process])
def test_plain_threads_enqueue_and_wait_while_an_executor_runs_elsewhere(
    executor: Callable[[str], Generator[None]], url: str
) -> None:
    with BlockingClient.connect(url) as client, executor(url), ThreadPoolExecutor(8) as threads:  # type: ignore[attr-defined]

        def ask(n: int) -> object:
            handle = client.enqueue(bill.with_metadata(Order(n)).with_execution_metadata(Progress(n)))
            return handle.wait(timeout_seconds=PATIENCE_SECONDS)

        assert list(threads.map(ask, range(40))) == [Success.with_result(n) for n in range(40)]
        assert client.count(TaskQuery.for_task(bill)) == 40


@pytest.mark.parametrize("url", ["apsw", "postgres"], indirect=True)
def test_a_connection_is_a_context_manager_and_leaves_nothing_behind(url: str) -> None:
    before = threading.active_count()
    with BlockingClient.connect(url) as client:
        id = client.enqueue(ship.with_metadata(Order(1))).id
    assert threading.active_count() == before
    with pytest.raises(StoreClosed):
        client.get(id)
    client.close()
    again = BlockingClient.connect(url)
    assert again.get(id).unwrap().metadata == {
        "id": 1,
        "part": {"sku": "bolt", "color": "red"},
        "at": "2030-01-01T00:00:00+00:00",
        "tags": [],
    }
    again.close()
    gc.collect()
    assert threading.active_count() == before


@pytest.mark.parametrize("url", ["memory", "apsw", "postgres"], indirect=True)
def test_what_the_block_raises_leaves_it_as_it_is(url: str) -> None:
    with pytest.raises(KeyError, match="mine"), BlockingClient.connect(url):
        raise KeyError("mine")


@pytest.mark.parametrize("url", [None, b"postgresql://ada:secret@host/db", 5])
def test_a_url_is_text(url: Any) -> None:
    with pytest.raises(
        StoreUrlError, match=r"a store's URL is text, got a .*: understood are sqlite:///FILE"
    ) as raised:
        BlockingClient.connect(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["", "mysql://x", "sqlite:/x", "sqlite:///:memory:"])
def test_a_url_that_is_none_is_refused_and_leaves_nothing_behind(url: str) -> None:
    before = threading.active_count()
    with pytest.raises(StoreUrlError):
        BlockingClient.connect(url)
    assert threading.active_count() == before


@pytest.mark.parametrize("url", ["memory", "apsw", "postgres"], indirect=True)
def test_a_thread_that_waits_is_woken_by_another(url: str) -> None:
    with BlockingClient.connect(url) as client, ThreadPoolExecutor(20) as threads:
        handle = client.enqueue(ship.with_metadata(Order(1)))
        waiting = [threads.submit(handle.wait, PATIENCE_SECONDS) for _ in range(20)]
        client.cancel(handle.id, reason="enough")
        for each in waiting:
            assert each.result(PATIENCE_SECONDS) == Crash(CrashKind.CANCELLED, "enough")


def test_a_blocking_client_may_share_the_store_of_a_trio_program() -> None:
    async def main() -> object:
        async with open_store("memory:") as store, open_executor(store, [ship], config=quick()):
            client = BlockingClient(store)
            return await trio.to_thread.run_sync(
                lambda: client.enqueue(ship.with_metadata(Order(1))).wait(PATIENCE_SECONDS)
            )

    assert trio.run(main) == Success.with_result(Part("bolt"))
