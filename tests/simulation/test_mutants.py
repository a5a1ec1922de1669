"""Would it be noticed? Each precaution is taken out of the house, and some seed of the first hundred must complain."""

from __future__ import annotations

import os
from statistics import median
from typing import Final

import pytest

from milepost.testing.simulation import ALL_FAULTS
from tests.simulation.mutants import LOOKED_FOR_UNDER, MUTANTS, SHY, Mutant, planted
from tests.simulation.runs import run_house

TIMES: Final = int(os.environ.get("MILEPOST_SOAK", "0"))
STARTS: Final = range(0, 100 * (TIMES or 1), 100)
SEEDS_MAX: Final = 100


@pytest.mark.slow
@pytest.mark.parametrize("mutant", [*MUTANTS, *(SHY if TIMES else ())], ids=lambda mutant: mutant.__name__)
def test_a_planted_fault_is_caught_within_a_hundred_seeds(mutant: Mutant) -> None:
    tried = [_seeds_until_caught(mutant, start) for start in STARTS]
    print(f"\n{mutant.__name__}: caught after {median(tried):g} seeds (median), {max(tried)} (worst) of {len(tried)}")
    assert max(tried) <= SEEDS_MAX


def _seeds_until_caught(mutant: Mutant, start: int) -> int:
    """How many seeds from `start` on it takes; more than the limit where none of them complains."""
    faults = LOOKED_FOR_UNDER.get(mutant, ALL_FAULTS)
    with planted(mutant):
        for tried in range(SEEDS_MAX):
            if run_house(start + tried, scale=2, faults=faults, violations_max=1).violations:
                return tried + 1
    return SEEDS_MAX + 1
