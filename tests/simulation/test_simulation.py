"""The whole house under every fault, seed by seed: no promise is broken, and every fault and every state was seen."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from milepost.testing.simulation import Fault
from tests.simulation.runs import run_house, run_house_on_sqlite

TIMES: Final = int(os.environ.get("MILEPOST_SOAK", "0"))
FIRST: Final = int(os.environ.get("MILEPOST_SEED", "0"))
SEEDS: Final = range(FIRST, FIRST + (300 * TIMES or 30))
"""The quick tier takes the same seeds each time; the long one a few hundred for each time of MILEPOST_SOAK."""
SQLITE_SEEDS: Final = SEEDS[::15]

FLOORS: Final = {
    "enqueued by a result": 10,
    "enqueued by a schedule": 2,
    "reclaimed": 20,
    "stale write refused": 1,
    "run discarded": 2,
    "lease lost": 1,
    "stopped gracefully": 30,
    "cancel requested of a running task": 2,
    "quarantined": 1,
    "retrying": 10,
    "suspended": 15,
    "interrupted": 1,
    "requeued": 1,
    "committed": 50,
    "cancelled": 15,
    "failed": 5,
    "completed": 75,
    "store seen unreachable": 20,
    "store seen busy": 1,
    "store seen full": 1,
    "store seen read-only": 1,
}
"""What must have been seen at least so often in 30 seeds, or they prove nothing."""


@pytest.mark.slow
def test_no_seed_breaks_a_promise_and_every_fault_and_state_was_seen() -> None:
    faults, sights, seconds, changes = Counter[Fault](), Counter[str](), 0.0, 0
    for seed in SEEDS:
        report = run_house(seed)
        assert report.violations == (), report
        faults.update(report.faults)
        sights.update(report.sights)
        seconds += report.seconds
        changes += report.changes
    print(f"\n{len(SEEDS)} seeds from {FIRST}: {changes} changes checked in {seconds / 3600:.1f} hours of virtual time")
    for name, count in [*((fault.name, faults[fault]) for fault in Fault), *sorted(sights.items())]:
        print(f"  {name:40} {count:8}")
    assert [fault.name for fault in Fault if faults[fault] == 0] == []
    floors = {name: floor * len(SEEDS) // 30 for name, floor in FLOORS.items()}
    assert {name: (sights[name], floor) for name, floor in floors.items() if sights[name] < floor} == {}


@pytest.mark.slow
def test_what_is_written_with_a_commit_is_in_sqlite_exactly_once(tmp_path: Path) -> None:
    effects = 0
    for seed in SQLITE_SEEDS:
        report = run_house_on_sqlite(seed, tmp_path / f"{seed}.db")
        assert report.violations == (), report
        effects += report.answer or 0
    assert effects >= len(SQLITE_SEEDS)
