"""The parts that every store is measured by, by milepost's public API; each prints its own lines."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

from attrs import frozen

from benchmarks import backlog, end_to_end, floors, suspended
from benchmarks.ground import Ground
from milepost import open_store

SLOTS = (20, 100, 500)


@frozen
class Scale:
    """How much of everything: all of it, or just enough to see that it runs."""

    quick: bool
    rounds: int

    def of(self, whole: int, quick: int) -> int:
        """One of the two."""
        return quick if self.quick else whole


Part = Callable[[Ground, Scale], Awaitable[None]]


async def drain(ground: Ground, scale: Scale) -> None:
    """Floor, plain and async in turn, several times: a machine's speed drifts, so each figure is a median."""
    for slots in SLOTS:
        await _drain(ground, scale, scale.of(20_000, 500), slots)


async def _drain(ground: Ground, scale: Scale, total: int, slots: int) -> None:
    floor: list[floors.Floor] = []
    plain: list[end_to_end.Drained] = []
    waiting: list[end_to_end.Drained] = []
    for _ in range(scale.rounds):
        floor.append(await ground.floor(total, slots))
        plain.append(await end_to_end.drain(ground, total, slots, pure=True))
        waiting.append(await end_to_end.drain(ground, total, slots))
    lowest = median(each.drained for each in floor)
    for kind, drained in (("plain def", plain), ("async def", waiting)):
        rate = median(each.drain for each in drained)
        here, there = median(each.cpu_micros for each in drained), median(each.server_micros for each in drained)
        print(
            f"drain {total:,} {kind} at {slots:3} slots   {rate:9,.0f}/s   floor {lowest:9,.0f}/s   "
            f"ratio {rate / lowest:.2f}   CPU a task {here:.0f} us" + (f" + server {there:.0f} us" if there else "")
        )
    rate = median(each.enqueue_all for each in waiting)
    encoded, ready = median(each.encoded_rows for each in floor), median(each.ready_rows for each in floor)
    print(
        f"enqueue_all of {total:,}                 {rate:9,.0f}/s   floor {encoded:9,.0f}/s   "
        f"ratio {rate / encoded:.2f}   (rows that are encoded already: {ready:,.0f}/s, {rate / ready:.2f})   {load()}"
    )


async def enqueue(ground: Ground, scale: Scale) -> None:
    """One at a time, each durable when it returns."""
    total = scale.of(2_000, 50)
    pairs = [
        (ground.one_row_commits(total), await end_to_end.enqueue_one_by_one(ground, total)) for _ in range(scale.rounds)
    ]
    commits, rate = (median(each) for each in zip(*pairs, strict=True))
    print(
        f"enqueue one by one                     {rate:9,.0f}/s   "
        f"floor {commits:9,.0f} commits/s   ratio {rate / commits:.2f}   {load()}"
    )


async def commit(ground: Ground, scale: Scale) -> None:
    """`execution.commit` by one task, and by 200 at once."""
    for committers in (1, 200):
        seconds = await end_to_end.commit_seconds(ground, committers, scale.of(50, 2))
        print(f"commit, {committers:3} at once                  {milliseconds(seconds)}   {load()}")


async def start(ground: Ground, scale: Scale) -> None:
    """From before the enqueue to the first line of the task."""
    seconds = await end_to_end.start_seconds(ground, scale.of(200, 5))
    print(f"enqueue to start, same process         {milliseconds(seconds)}   {load()}")
    seconds = await end_to_end.start_seconds_across(ground, scale.of(100, 4))
    print(f"enqueue to start, another process      {milliseconds(seconds)}   {load()}")


async def memory(ground: Ground, scale: Scale) -> None:
    """A worker's peak, which may not grow with what it has run."""
    totals = [500, 1_000] if scale.quick else [10_000, 100_000]
    for count, peak in zip(totals, await end_to_end.memory_mebibytes(ground, totals), strict=True):
        print(f"worker's peak memory after {count:7,} tasks  {peak:6.1f} MiB")


async def claim(ground: Ground, scale: Scale) -> None:
    """The claim of 100 among rows that it cannot or need not take."""
    extra = scale.of(1_000_000, 1_000)
    small = backlog.claim_seconds(ground.fresh(), 0, lambda record: record)
    print(f"claim of 100 among 1,000 waiting       {small * 1e3:6.2f} ms")
    for case, change in backlog.CASES.items():
        seconds = backlog.claim_seconds(ground.fresh(), extra, change)
        print(f"  and {extra:,} {case}: {seconds * 1e3:.2f} ms   ratio {seconds / small:.2f}   {load()}")


async def proceed(ground: Ground, scale: Scale) -> None:
    """A proceed of one suspended task of many, by a value in its progress; and what the others cost a worker."""
    waiting = scale.of(100_000, 200)
    async with open_store(ground.fresh()) as store:
        await suspended.fill(store, waiting, waiting)
        bare = await suspended.proceed_seconds(store, range(20), waiting)
        created = await suspended.create_index(store)
        indexed = await suspended.proceed_seconds(store, range(20, scale.of(320, 40)), waiting)
    print(
        f"proceed by progress, {waiting:,} suspended  {suspended.spread(indexed)}   "
        f"without an index {suspended.spread(bare)}   (to make one: {created:.1f} s)   {load()}"
    )
    tasks = scale.of(2_000, 100)
    none, many = [await suspended.worker_mebibytes(ground, count, tasks) for count in (0, waiting)]
    print(f"worker's peak memory, none suspended {none:6.1f} MiB   {waiting:,} suspended {many:6.1f} MiB")


def milliseconds(seconds: list[float]) -> str:
    """Median, 99th percentile and how many."""
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    return f"p50 {median(ordered) * 1e3:7.2f} ms   p99 {p99 * 1e3:7.2f} ms   n {len(ordered)}"


def load() -> str:
    """How many others want the cores meanwhile: what the figure beside it is worth."""
    try:
        running = Path("/proc/loadavg").read_text().split()[0]
    except OSError:
        return ""
    return f"[load {running} on {os.cpu_count()}]"
