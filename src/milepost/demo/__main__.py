"""`python -m milepost.demo`: reads the arguments, runs the demo, and turns its end into an exit code.

0 when every row is there once, 1 when not or when the demo could not go on, 2 for wrong arguments, 128 + n for a
signal.
"""

from __future__ import annotations

import argparse
import math
import random
import signal
import sys
import sysconfig
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias, cast

import trio

from milepost import MilepostError
from milepost.demo.display import Display, Report
from milepost.demo.index import library_files
from milepost.demo.supervisor import DemoFailed, Kill, Plan, run_demo
from milepost.testing.servers import NoPostgres, ServerFailed, private_postgres

_OWN_SERVER = "postgres"
_DELAY_SECONDS_MAX = 0.02
_Group: TypeAlias = BaseExceptionGroup[BaseException]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code."""
    options = _parser().parse_args(arguments)
    warnings.simplefilter("ignore")  # the parser warns of old spellings in the library's tests
    display = Display.on(sys.stderr if options.json else sys.stdout)
    try:
        with ExitStack() as stack:
            prefix = "milepost-demo-"
            folder = Path(stack.enter_context(TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)))
            plan = _plan(options, folder, _url(options.store, folder, display, stack))
            kills = f"{len(plan.kills)} kill{'s' * (len(plan.kills) != 1)}"
            display.tell(f"{len(plan.files):,} files of {plan.root}, {kills}, seed {plan.seed}")
            return _run(plan, display, as_json=options.json)
    except (NoPostgres, ServerFailed) as error:
        print(f"the demo cannot go on: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m milepost.demo",
        description="Index the standard library as durable tasks, kill the process, and compare with an uncut walk.",
    )
    add = parser.add_argument
    add("--pure", action="store_true", help="the tasks as pure step functions, whose results say what to write")
    add("--kill-after", type=_share, metavar="SHARE", help="when to kill, as a share of the files from 0 to 1")
    add("--kills", type=_count, default=1, metavar="N", help="how often to kill (default: 1)")
    add("--seed", type=int, metavar="N", help="draws the moments that are not given (default: a random one, printed)")
    add("--limit", type=_positive, metavar="N", help="only the first N files")
    add("--lease-seconds", type=_lease, default=2.0, metavar="S", help="how long a dead worker is believed in")
    add(
        "--store",
        type=_store,
        metavar="STORE",
        help="a new SQLite file to keep, `postgres` for a PostgreSQL server of the demo's own, or the URL of a database"
        " (default: a temporary SQLite file)",
    )
    add("--json", action="store_true", help="the report as one JSON object on standard output")
    return parser


def _url(store: str | None, folder: Path, display: Display, stack: ExitStack) -> str:
    """Where the store is; what has to be running for it does so until the end of `stack`."""
    if store is None or (store != _OWN_SERVER and "://" not in store):
        return f"sqlite:///{(folder / 'demo.db' if store is None else Path(store)).absolute()}"
    if store != _OWN_SERVER:
        return store
    server = stack.enter_context(private_postgres())
    display.tell(f"PostgreSQL {server.version} started")
    return server.url()


def _plan(options: argparse.Namespace, folder: Path, url: str) -> Plan:
    root = Path(sysconfig.get_path("stdlib"))
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    return Plan(
        root=root,
        files=library_files(root)[: options.limit],
        url=url,
        log=folder / "worker.log",
        kills=_kills(random.Random(seed), options.kills, options.kill_after),
        pure=options.pure,
        seed=seed,
        lease_seconds=options.lease_seconds,
    )


def _kills(chance: random.Random, count: int, first: float | None) -> list[Kill]:
    """The moments of the kills, in order; only the first can be chosen."""
    lowest = 0.0 if first is None else first
    shares = sorted(chance.uniform(lowest, 1) for _ in range(count))
    if shares and first is not None:
        shares[0] = first
    # A moment more than exactly after a commit: so some kills fall into a transaction, and some between two.
    return [Kill(share, chance.uniform(0, _DELAY_SECONDS_MAX)) for share in shares]


def _run(plan: Plan, display: Display, *, as_json: bool) -> int:
    async def demo() -> int:
        ends: list[int] = []
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:

                async def listen() -> None:
                    ends.append(128 + await anext(signals))
                    nursery.cancel_scope.cancel()

                nursery.start_soon(listen)
                report = await run_demo(plan, display)
                ends.append(0 if report.is_whole else 1)
                _show(report, display, as_json=as_json)
                nursery.cancel_scope.cancel()
        if ends[0] > 128:
            display.tell(f"stopped by {signal.Signals(ends[0] - 128).name}; no process is left")
        return ends[0]

    try:
        return trio.run(demo)
    except* (DemoFailed, MilepostError, OSError) as errors:
        for error in _leaves(cast("_Group", errors)):
            print(f"the demo cannot go on: {error}", file=sys.stderr)
    return 1


def _show(report: Report, display: Display, *, as_json: bool) -> None:
    if as_json:
        print(report.as_json())
    else:
        display.conclude(report)


def _leaves(errors: _Group) -> list[BaseException]:
    found: list[BaseException] = []
    for error in errors.exceptions:
        found.extend(_leaves(cast("_Group", error)) if isinstance(error, BaseExceptionGroup) else [error])
    return found


def _store(text: str) -> str:
    path = Path(text)
    if text != _OWN_SERVER and "://" not in text and (path.exists() or not path.parent.is_dir()):
        raise argparse.ArgumentTypeError(f"{text} must be a new file in a folder that exists")
    return text


def _share(text: str) -> float:
    return _between(text, 0, 1)


def _lease(text: str) -> float:
    return _between(text, 0.5, 3600)


def _count(text: str) -> int:
    return _whole(text, 0, 100)


def _positive(text: str) -> int:
    return _whole(text, 1, 1_000_000)


def _whole(text: str, low: int, high: int) -> int:
    value = _between(text, low, high)
    if not value.is_integer():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number")
    return int(value)


def _between(text: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:  # not a number compares false
        raise argparse.ArgumentTypeError(f"{text} is not a number from {low} to {high}")
    return value


if __name__ == "__main__":
    try:
        status = main()
    except KeyboardInterrupt:  # before the demo listens for it
        status = 128 + signal.SIGINT
    sys.exit(status)
