"""A worker that kills itself: `python -m tests.flows.worker URL COMMITS` dies instead of its commit number COMMITS."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import TypeVar, Unpack, final

import trio

from milepost import ExecutorConfig, Store, open_store, run_executor
from milepost.stores.protocol import Session, TransactOptions
from tests.executor.kit import PassingStore
from tests.flows.trips import book_trip

LEASE_SECONDS = 0.6
T = TypeVar("T")


@final
class DeadlyStore(PassingStore):
    """A store that kills its process instead of a commit."""

    def __init__(self, inner: Store, commits_max: int) -> None:
        super().__init__(inner)
        self.left = commits_max

    async def transact(self, function: Callable[[Session], T], **options: Unpack[TransactOptions]) -> T:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return await self.inner.transact(function, **options)


async def main(url: str, commits_max: int) -> None:
    """Run until killed."""
    config = ExecutorConfig(lease_seconds=LEASE_SECONDS, poll_seconds=0.05, drain_seconds=0.05, cleanup_seconds=1)
    async with open_store(url) as store:
        await run_executor(DeadlyStore(store, commits_max), [book_trip], config=config)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]))
