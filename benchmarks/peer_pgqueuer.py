"""What pgqueuer does with the same number of no-ops on the same server. Run by an interpreter that has pgqueuer.

`python benchmarks/peer_pgqueuer.py URL TOTAL BATCH SLOTS` prints one line of JSON; SLOTS of 0 are unlimited. Over
asyncpg and uvloop, as its own command runs it. It imports nothing of milepost: its environment needs none of it.

What it is spared: a result is not stored (the row of a job is deleted and a line of its log inserted); a completion is
not fenced (it deletes by id, whoever has the job by then); a payload is bytes, neither encoded nor decoded; there is no
idempotency of keys, no history beyond that log, and a job has no cancel scope or deadline of its own.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import sys
import time
from importlib.metadata import version
from typing import Any


async def drain(url: str, total: int, batch: int, slots: int) -> dict[str, float]:
    """Enqueue in one statement, then the time from the manager's start to the commit of the last completion."""
    asyncpg: Any = importlib.import_module("asyncpg")
    pgqueuer: Any = importlib.import_module("pgqueuer")
    connection = await asyncpg.connect(url)
    manager = pgqueuer.PgQueuer.from_asyncpg_connection(connection)
    queries = manager.qm.queries
    await queries.install()

    async def no_op(job: Any) -> None:
        pass

    manager.entrypoint("no_op")(no_op)
    begin = time.perf_counter()
    await queries.enqueue(["no_op"] * total, [b'{"n":%d}' % n for n in range(total)], [0] * total)
    enqueue = total / (time.perf_counter() - begin)

    done = 0
    log_jobs = queries.log_jobs

    async def counted(jobs: list[Any]) -> None:
        nonlocal done
        await log_jobs(jobs)
        done += len(jobs)
        if done >= total:
            manager.shutdown.set()

    queries.log_jobs = counted
    gc.collect()
    gc.freeze()
    begin, cpu = time.perf_counter(), time.process_time()
    run = asyncio.create_task(manager.qm.run(batch_size=batch, max_concurrent_tasks=slots or None))
    await manager.shutdown.wait()
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    await run
    left = await connection.fetchval("select count(*) from pgqueuer")
    await connection.close()
    if left or done != total:
        raise AssertionError(f"pgqueuer completed {done} of {total}, {left} are left")
    return {"enqueue": enqueue, "drain": total / seconds, "cpu_micros": cpu / total * 1e6}


if __name__ == "__main__":
    given_url, *numbers = sys.argv[1:]
    uvloop: Any = importlib.import_module("uvloop")
    print(json.dumps({"version": version("pgqueuer"), **uvloop.run(drain(given_url, *map(int, numbers)))}))
