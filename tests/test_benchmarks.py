"""Every benchmark runs, in its smallest size, so that none of them rots. No figure is looked at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_every_benchmark_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for part in (
        "drain",
        "enqueue_all",
        "enqueue one by one",
        "commit",
        "another process",
        "peak memory",
        "claim of 100",
    ):
        assert part in done.stdout
