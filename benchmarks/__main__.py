"""Measure everything, in one run, next to the floors of this machine. `--quick` only proves that it runs."""

from __future__ import annotations

import argparse
import platform
import tempfile
from pathlib import Path
from statistics import median

import apsw
import trio

from benchmarks import backlog, end_to_end, floors
from benchmarks.end_to_end import milliseconds

ROUNDS = 5
PARTS = ("drain", "enqueue", "commit", "start", "memory", "backlog")


async def measure(folder: Path, parts: list[str], *, quick: bool) -> None:
    """Run the named parts; each prints its own lines."""
    total = 500 if quick else 20_000
    if "drain" in parts:
        for slots in (20, 100, 500):
            await _drain(folder, total, slots)
    if "enqueue" in parts:
        await _enqueue(folder, 50 if quick else 2_000)
    if "commit" in parts:
        for committers in (1, 200):
            seconds = await end_to_end.commit_seconds(folder, committers, 2 if quick else 50)
            print(f"commit, {committers:3} at once                  {milliseconds(seconds)}")
    if "start" in parts:
        seconds = await end_to_end.start_seconds(folder, 5 if quick else 200)
        print(f"enqueue to start, same process         {milliseconds(seconds)}")
        seconds = await end_to_end.start_seconds_across(folder, 4 if quick else 100)
        print(f"enqueue to start, another process      {milliseconds(seconds)}")
    if "memory" in parts:
        totals = [500, 1_000] if quick else [10_000, 100_000]
        for count, peak in zip(totals, await end_to_end.memory_mebibytes(folder, totals), strict=True):
            print(f"worker's peak memory after {count:7,} tasks  {peak:6.1f} MiB")
    if "backlog" in parts:
        _backlog(folder, 1_000 if quick else 1_000_000)


async def _drain(folder: Path, total: int, slots: int) -> None:
    """Floor, plain and async in turn, several times: a machine's speed drifts, so each figure is a median."""
    floor: list[floors.Floor] = []
    plain: list[end_to_end.Drained] = []
    waiting: list[end_to_end.Drained] = []
    for number in range(ROUNDS):
        place = f"{slots}-{number}"
        floor.append(await floors.measure(folder / f"floor-{place}.db", total, slots))
        plain.append(await end_to_end.drain(folder / f"plain-{place}.db", total, slots, pure=True))
        waiting.append(await end_to_end.drain(folder / f"async-{place}.db", total, slots))
    lowest = median(each.drained for each in floor)
    for kind, drained in (("plain def", plain), ("async def", waiting)):
        rate = median(each.drain for each in drained)
        print(
            f"drain {total:,} {kind} at {slots:3} slots   {rate:9,.0f}/s   floor {lowest:9,.0f}/s   "
            f"ratio {rate / lowest:.2f}   {median(each.cpu_micros for each in drained):.0f} us of CPU a task"
        )
    rate = median(each.enqueue_all for each in waiting)
    encoded, ready = median(each.encoded_rows for each in floor), median(each.ready_rows for each in floor)
    print(
        f"enqueue_all of {total:,}                 {rate:9,.0f}/s   floor {encoded:9,.0f}/s   "
        f"ratio {rate / encoded:.2f}   (rows that are encoded already: {ready:,.0f}/s, {rate / ready:.2f})"
    )


async def _enqueue(folder: Path, total: int) -> None:
    commits = floors.one_row_commits(folder, total)
    rate = await end_to_end.enqueue_one_by_one(folder, total)
    print(
        f"enqueue one by one                     {rate:9,.0f}/s   "
        f"floor {commits:9,.0f} commits/s   ratio {rate / commits:.2f}"
    )


def _backlog(folder: Path, extra: int) -> None:
    small = backlog.claim_seconds(folder / "small.db", 0, lambda record: record)
    print(f"claim of 100 among 1,000 waiting       {small * 1e3:6.2f} ms")
    for number, (case, change) in enumerate(backlog.CASES.items()):
        seconds = backlog.claim_seconds(folder / f"backlog-{number}.db", extra, change)
        print(f"  and {extra:,} {case}: {seconds * 1e3:.2f} ms   ratio {seconds / small:.2f}")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help=f"any of {', '.join(PARTS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: proves that it runs, measures nothing")
    given = parser.parse_args()
    print(f"Python {platform.python_version()}, trio {trio.__version__}, SQLite {apsw.sqlite_lib_version()}, WAL, FULL")
    with tempfile.TemporaryDirectory() as folder:
        trio.run(lambda: measure(Path(folder), given.parts or list(PARTS), quick=given.quick))


if __name__ == "__main__":
    main()
