"""The other process of the benchmarks: runs a number of tasks and prints what it saw."""

from __future__ import annotations

import sys

import trio

from benchmarks.end_to_end import START_SECONDS, no_op, peak_mebibytes, starter, until_ended
from milepost import ExecutorConfig, open_executor, open_store


async def work(url: str, total: int) -> None:
    """Run until `total` tasks have ended."""
    config = ExecutorConfig(concurrency=100)
    async with open_store(url) as store, open_executor(store, [no_op, starter], config=config) as executor:
        await until_ended(executor, total)


if __name__ == "__main__":
    trio.run(work, sys.argv[1], int(sys.argv[2]))
    print(peak_mebibytes() if "--memory" in sys.argv else "\n".join(map(str, START_SECONDS)))
