"""Processes that are killed again and again in the life of one saga: the last one comes to the end of an undisturbed
one, and nothing was booked or undone twice."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
import trio

from milepost import Client, Store, open_executor
from tests.executor.kit import PATIENCE_SECONDS, quick
from tests.flows.kit import told, until_all_ended
from tests.flows.trips import Trip, book_trip

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
DEATH_SECONDS = 30
DEATHS = (8, 13, 18)
"""The commits that the processes do not come to, each of them counted from its own start."""
TRIP = Trip(nights=tuple(range(100, 200)), budget=1)


async def test_a_saga_whose_processes_are_killed_again_and_again_comes_to_the_same_end(shared_store: Store) -> None:
    store, client = shared_store, Client(shared_store)
    request = book_trip.with_metadata(TRIP)
    undisturbed = await client.enqueue(request.with_correlation("undisturbed"))
    async with open_executor(store, [book_trip], config=quick()):
        await undisturbed.wait(PATIENCE_SECONDS)
        await until_all_ended(store)

    killed = await client.enqueue(request.with_correlation("killed"))
    for commits in DEATHS:
        await _killed_instead_of(commits, store.url)
        assert not (await client.get(killed.id)).unwrap().state.is_final
    async with open_executor(store, [book_trip], config=quick()):
        await killed.wait(DEATH_SECONDS)
        await until_all_ended(store)

    assert await told(store, "killed") == await told(store, "undisturbed")


async def _killed_instead_of(commits: int, url: str) -> None:
    command = [sys.executable, "-m", "tests.flows.worker", url, str(commits)]
    with trio.fail_after(DEATH_SECONDS):
        ended = await trio.run_process(command, cwd=ROOT, check=False)
    assert ended.returncode == -signal.SIGKILL
