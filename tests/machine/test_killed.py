"""A process that is killed between two steps: another one goes on in the state that the first one has committed."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
import trio

from milepost import Client, Store, Success, open_executor
from tests.executor.kit import quick
from tests.machine.worker import Placed, machine

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
STATES = ["Placed()", "Packed(boxes=2)", "Packed(boxes=1)", "Packed(boxes=0)", "Shipped(parcel='2 boxes')"]
DEATH_SECONDS = 30


async def test_a_killed_machine_goes_on_in_its_last_state(shared_store: Store, tmp_path: Path) -> None:
    task = machine(tmp_path / "trace")
    handle = await Client(shared_store).enqueue(task.with_metadata(2).with_execution_metadata(Placed()))
    for visits in range(len(STATES)):
        await _killed_after(visits, shared_store.url, tmp_path / "trace")
        assert _begun(tmp_path / "trace") == STATES[:visits]

    async with open_executor(shared_store, [task], config=quick()):
        assert await handle.wait(DEATH_SECONDS) == Success.with_result("2 boxes")

    assert _begun(tmp_path / "trace") == STATES  # each handler once: no step is lost, and none is taken twice


async def _killed_after(visits: int, url: str, trace: Path) -> None:
    command = [sys.executable, "-m", "tests.machine.worker", url, str(trace), str(visits)]
    with trio.fail_after(DEATH_SECONDS):
        ended = await trio.run_process(command, cwd=ROOT, check=False)
    assert ended.returncode == -signal.SIGKILL


def _begun(trace: Path) -> list[str]:
    return trace.read_text("utf-8").splitlines() if trace.exists() else []
