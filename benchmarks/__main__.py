"""Measure everything, in one run, next to the floors of this machine. `--quick` only proves that it runs."""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import trio
from attrs import frozen

from benchmarks import parts, postgres_parts
from benchmarks.ground import PostgresGround, SqliteGround, postgres_ground
from benchmarks.parts import Part, Scale

STORES = ("sqlite", "postgres")
COMMON: Mapping[str, Part] = {
    "drain": parts.drain,
    "enqueue": parts.enqueue,
    "commit": parts.commit,
    "start": parts.start,
    "memory": parts.memory,
    "proceed": parts.proceed,
    "backlog": parts.claim,
}
POSTGRES = {
    "start": postgres_parts.start_floor,
    "processes": postgres_parts.several,
    "churn": postgres_parts.churn,
}
PARTS = (*COMMON, *(name for name in POSTGRES if name not in COMMON), "scale", "peer")


@frozen
class Wanted:
    """What the command line asks for."""

    parts: list[str]
    scale: Scale
    peer: str
    server: int | None
    plan: Path | None


async def on_sqlite(wanted: Wanted) -> None:
    """Each wanted part, on files in a fresh folder."""
    with tempfile.TemporaryDirectory() as folder:
        ground = SqliteGround(Path(folder))
        print(f"\n{ground.title}, {_versions()}")
        for name in wanted.parts:
            if name in COMMON:
                await COMMON[name](ground, wanted.scale)


async def on_postgres(wanted: Wanted) -> None:
    """Each wanted part, on fresh databases of a private server."""
    with postgres_ground(wanted.server) as ground:
        print(f"\n{ground.title}, {_versions()}")
        for name in wanted.parts:
            await _on_server(name, ground, wanted)


async def _on_server(name: str, ground: PostgresGround, wanted: Wanted) -> None:
    if name in POSTGRES:
        await POSTGRES[name](ground, wanted.scale)
    if name == "scale":
        await postgres_parts.at_scale(ground, wanted.scale, wanted.plan)
    if name in COMMON:
        await COMMON[name](ground, wanted.scale)
    if name == "peer":
        await postgres_parts.against_peer(ground, wanted.scale, wanted.peer)


def _versions() -> str:
    return f"Python {platform.python_version()}, trio {trio.__version__}"


def main() -> None:
    """The command."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a long run shows each line as it comes
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help=f"any of {', '.join(PARTS)}; default: all")
    parser.add_argument("--store", action="append", choices=STORES, help="one of the stores; default: both")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: proves that it runs, measures nothing")
    parser.add_argument("--rounds", type=int, default=5, help="how often each drain is repeated, in turn; default: 5")
    parser.add_argument("--server", type=int, metavar="MAJOR", help="PostgreSQL's version; default: the newest here")
    parser.add_argument("--peer", default=sys.executable, metavar="PYTHON", help="an interpreter that has pgqueuer")
    parser.add_argument("--plan", type=Path, metavar="FILE", help="where the plan of the claim at scale goes")
    given = parser.parse_args()
    scale = Scale(given.quick, 1 if given.quick else given.rounds)
    wanted = Wanted(given.parts or list(PARTS), scale, given.peer, given.server, given.plan)
    for name, run in (("sqlite", on_sqlite), ("postgres", on_postgres)):
        if name in (given.store or STORES):
            trio.run(partial(run, wanted))


if __name__ == "__main__":
    main()
