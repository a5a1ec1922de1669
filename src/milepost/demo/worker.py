"""The process that the demo kills: an executor of the demo's tasks, and nothing else.

It is started by the supervisor as `python -m milepost.demo.worker LEASE_SECONDS`, with the store's URL in the
environment, and stops when its standard input ends: because the supervisor closed it, or because the supervisor is
gone.
"""

from __future__ import annotations

import os
import sys
import warnings

import trio

from milepost.demo.index import TASKS
from milepost.executor import ExecutorConfig, open_executor
from milepost.stores.open import open_store

CONCURRENCY = 4
STORE_VARIABLE = "MILEPOST_DEMO_STORE"


async def work(url: str, *, lease_seconds: float) -> None:
    """Run the demo's tasks from the store at `url` until standard input ends."""
    config = ExecutorConfig(
        concurrency=CONCURRENCY,
        lease_seconds=lease_seconds,
        poll_seconds=min(0.2, lease_seconds / 5),
        drain_seconds=2,
        # A task that is claimed again and again without progress is normally put aside as one that kills its process.
        # Here it is the demo that kills, as often as it was asked to.
        stalls_max=1_000,
    )
    async with open_store(url) as store, open_executor(store, TASKS, config=config):
        await trio.to_thread.run_sync(sys.stdin.buffer.read, abandon_on_cancel=True)


def main() -> None:
    """The entry point of the process."""
    warnings.simplefilter("ignore")  # the parser warns of old spellings in the library's tests
    (lease_seconds,) = sys.argv[1:]
    url = os.environ.pop(STORE_VARIABLE)
    trio.run(lambda: work(url, lease_seconds=float(lease_seconds)))


if __name__ == "__main__":
    main()
