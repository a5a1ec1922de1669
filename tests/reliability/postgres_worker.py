"""A worker process for the tests on PostgreSQL: `python -m tests.reliability.postgres_worker URL LEASE EFFECT AHEAD`.

It prints what a test wants to count: observations, and each write that the store refused because the claim was lost.
With AHEAD, the host's wall clock is that many seconds off, for everything in this process.
"""

from __future__ import annotations

import datetime as wall
import signal
import sys
import time
from collections.abc import Callable
from typing import Self, TypeVar, Unpack

import trio

from milepost import ClaimLost, ExecutorConfig, clock, open_store, run_executor
from milepost.executor.turn import TurnReceipt
from milepost.stores.protocol import Session, TransactOptions
from milepost.telemetry import ExecutorStarted, ExecutorStopped, LeaseLost, Observation, RunDiscarded, StoreChanged
from tests.executor.kit import PassingStore
from tests.reliability.ledger import book, march, nap, nudges, sit

T = TypeVar("T")

MANY = 1_000_000
TOLD = (ExecutorStarted, ExecutorStopped, LeaseLost, RunDiscarded, StoreChanged)


class RefusalsTold(PassingStore):
    """Prints a line for each write that the store refused."""

    async def transact(self, function: Callable[[Session], T], **options: Unpack[TransactOptions]) -> T:
        try:
            answer = await super().transact(function, **options)
        except ClaimLost:
            say("refused")
            raise
        if isinstance(answer, TurnReceipt):
            for written in answer.written:
                if written is None:
                    say("refused")
        return answer


def say(line: str) -> None:
    print(line, flush=True)


def tell(observation: Observation) -> None:
    if isinstance(observation, StoreChanged):
        say(f"StoreChanged {observation.condition.value}")
    elif isinstance(observation, TOLD):
        say(type(observation).__name__)


def set_clock_ahead(seconds: float) -> None:
    """Let the host's wall clock be off: what milepost reads, and what everything else here does."""
    real_time, shift = time.time, wall.timedelta(seconds=seconds)

    class Shifted(wall.datetime):
        @classmethod
        def now(cls, tz: wall.tzinfo | None = None) -> Self:
            return super().now(tz) + shift

    setattr(clock, "datetime", Shifted)  # noqa: B010 (no checker may think that this is done anywhere else)
    time.time = lambda: real_time() + seconds
    say(f"it is {clock.system_clock().isoformat()} here")


async def main(url: str, lease_seconds: float, effect_seconds: float) -> None:
    config = ExecutorConfig(
        concurrency=20,
        lease_seconds=lease_seconds,
        poll_seconds=lease_seconds / 5,
        effect_seconds=effect_seconds,
        drain_seconds=5,
        cleanup_seconds=1,
        stalls_max=MANY,
    )
    async with open_store(url) as store:
        await run_executor(
            RefusalsTold(store), [book, march, nap, sit], config=config, observer=tell, signals=[signal.SIGTERM]
        )


if __name__ == "__main__":
    if float(sys.argv[4]):
        set_clock_ahead(float(sys.argv[4]))
    signal.signal(signal.SIGUSR1, lambda number, _: nudges.update([number]))
    trio.run(main, sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
