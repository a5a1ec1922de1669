"""Every benchmark runs, in its smallest size, so that none of them rots. No figure is looked at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMMON = (
    "drain",
    "enqueue_all",
    "enqueue one by one",
    "commit",
    "same process",
    "another process",
    "peak memory",
    "proceed by progress, 200 suspended",
    "claim of 100",
)
OF_A_SERVER = (
    "insert + NOTIFY + claim",
    "by 2 processes",
    "of one; two cores allow",
    "500 suspended, 2,000 final",
    "churn of 2,000",
    "pgqueuer",
)


@pytest.mark.slow
@pytest.mark.parametrize(("store", "parts"), [("sqlite", COMMON), ("postgres", (*COMMON, *OF_A_SERVER))])
def test_every_benchmark_runs(store: str, parts: tuple[str, ...]) -> None:
    said = _run("--quick", "--store", store)
    assert [part for part in parts if part not in said] == []


@pytest.mark.slow
def test_a_plan_of_the_claim_reads_waiting_rows_by_their_index_alone(tmp_path: Path) -> None:
    plan = tmp_path / "plan.txt"
    _run("--quick", "--store", "postgres", "scale", "--plan", str(plan))
    text = plan.read_text()
    assert "Index Only Scan using milepost_task_due" in text
    assert "Seq Scan" not in text


def _run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
