"""The peer, run in a process and an environment of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from attrs import frozen

PROGRAM = Path(__file__).with_name("peer_pgqueuer.py")
NEEDED = "import pgqueuer, asyncpg, uvloop"
HOW = "pip install -e '.[bench]', or pgqueuer[asyncpg] into another environment and --peer PATH/OF/ITS/python"


@frozen
class PeerDrained:
    """Its version, rates per second, and the CPU microseconds of one job in its own process."""

    version: str
    enqueue: float
    drain: float
    cpu_micros: float


def is_installed(python: str) -> bool:
    """Whether this interpreter has the peer."""
    return subprocess.run([python, "-c", NEEDED], capture_output=True, check=False).returncode == 0


def drain(python: str, url: str, total: int, *, batch: int, slots: int) -> PeerDrained:
    """Enqueue `total` no-ops in one statement and drain them; 0 slots are unlimited."""
    command = [python, str(PROGRAM), url, str(total), str(batch), str(slots)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return PeerDrained(**json.loads(done.stdout))
