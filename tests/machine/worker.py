"""A worker that kills itself: `python -m tests.machine.worker URL TRACE VISITS` dies as its machine begins a state.

It writes each state that it has begun to the file TRACE, and dies instead of writing the one after VISITS states.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import trio
from attrs import frozen

from milepost import ExecutorConfig, Next, StateMachine, Success, Suspended, Task, open_store, run_executor

LEASE_SECONDS = 0.6


@frozen
class Placed:
    """The first state."""


@frozen
class Packed:
    """The second state, in which it suspends for a moment."""

    boxes: int


@frozen
class Shipped:
    """The third state."""

    parcel: str


def machine(trace: Path, visits_max: int = -1) -> Task[int, Placed | Packed | Shipped, str, str]:
    """The machine, told to kill its process after `visits_max` states."""

    def begin(state: object) -> None:
        visits = trace.read_text("utf-8") if trace.exists() else ""
        if len(visits.splitlines()) == visits_max:
            os.kill(os.getpid(), signal.SIGKILL)
        trace.write_text(f"{visits}{state}\n", "utf-8")

    def on_placed(boxes: int, state: Placed) -> Next[Packed, Any, Any]:
        begin(state)
        return Next.state(Packed(boxes)).with_outcome(Suspended().at_once())

    async def on_packed(boxes: int, state: Packed) -> Next[Packed | Shipped]:
        begin(state)
        await trio.lowlevel.checkpoint()
        return Next.state(Packed(state.boxes - 1)) if state.boxes else Next.state(Shipped(f"{boxes} boxes"))

    def on_shipped(boxes: int, state: Shipped) -> Success[str]:
        begin(state)
        return Success.with_result(state.parcel)

    return (
        StateMachine.for_states(Placed | Packed | Shipped)
        .for_metadata(int)
        .for_result(str)
        .for_error(str)
        .with_handler(Placed, on_placed)
        .with_handler(Packed, on_packed)
        .with_handler(Shipped, on_shipped)
        .build(name="parcel")
    )


async def main(url: str, trace: Path, visits_max: int) -> None:
    """Run until killed."""
    config = ExecutorConfig(lease_seconds=LEASE_SECONDS, poll_seconds=0.05, drain_seconds=0.05, cleanup_seconds=1)
    async with open_store(url) as store:
        await run_executor(store, [machine(trace, visits_max)], config=config)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
