"""A store that neither answers nor fails: an executor stops its runs in time, whatever its turn is stuck at."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, Unpack

import pytest
import trio

from milepost import Execution, StopKind, Store, Success, TaskResult, TaskState, open_executor, open_store, task
from milepost.stores.protocol import Session, TransactOptions
from milepost.telemetry import LeaseLost, RunDiscarded
from tests.executor.kit import PassingStore, Recorder, enqueue, quick, record_of, until, until_state

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

T = TypeVar("T")


class StuckStore(PassingStore):
    """Passes on, but for as long as it is stuck."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.unstuck = trio.Event()
        self.unstuck.set()

    async def transact(self, function: Callable[[Session], T], **options: Unpack[TransactOptions]) -> T:
        with trio.CancelScope(shield=True):  # a call that has started is never abandoned
            await self.unstuck.wait()
        return await super().transact(function, **options)

    def transact_blocking(self, function: Callable[[Session], T], **options: Unpack[TransactOptions]) -> T:
        trio.from_thread.run(self.unstuck.wait, trio_token=self.token)
        return super().transact_blocking(function, **options)

    token: trio.lowlevel.TrioToken


async def test_runs_are_stopped_when_the_lease_has_run_out_although_a_turn_is_stuck() -> None:
    stopped: list[StopKind] = []
    started = trio.Event()

    @task
    async def sit(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
        if started.is_set():
            return Success.with_result(metadata)
        started.set()
        try:
            await trio.sleep_forever()
        finally:
            assert execution.stopping is not None
            stopped.append(execution.stopping.kind)

    recorder = Recorder()
    async with open_store("memory:") as inner:
        store = StuckStore(inner)
        store.token = trio.lowlevel.current_trio_token()
        (id,) = await enqueue(inner, sit.with_metadata(1))
        async with open_executor(store, [sit], config=quick(lease_seconds=0.4), observer=recorder) as executor:
            await started.wait()
            before = executor.id
            store.unstuck = trio.Event()
            await until(lambda: stopped == [StopKind.CLAIM_LOST])
            assert recorder.of(RunDiscarded)
            assert not recorder.of(LeaseLost), "it is still stuck"
            store.unstuck.set()
            await until_state(inner, id, TaskState.COMPLETED)
            assert executor.id != before
        assert (await record_of(inner, id)).fence == 2
