"""One seed is one story: told twice, in this process or in another one, it is the same to the last line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import SystemRandom

import pytest

from tests.simulation.runs import run_house, run_house_on_sqlite

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_seed_told_twice_has_one_trace() -> None:
    for seed in (SystemRandom().randrange(2**32), 7):
        first, second = run_house(seed), run_house(seed)
        assert first.trace_hash == second.trace_hash, seed
        assert first.records == second.records, seed


@pytest.mark.slow
def test_a_seed_told_twice_on_sqlite_has_one_trace(tmp_path: Path) -> None:
    hashes = {run_house_on_sqlite(3, tmp_path / f"{each}.db").trace_hash for each in range(2)}
    assert len(hashes) == 1


@pytest.mark.slow
def test_a_seed_told_in_another_process_has_the_same_trace() -> None:
    program = "from tests.simulation.runs import run_house; print(run_house(11).trace_hash)"
    told = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "123"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split()[-1] == run_house(11).trace_hash


def test_two_seeds_have_two_traces() -> None:
    assert run_house(1).trace_hash != run_house(2).trace_hash
