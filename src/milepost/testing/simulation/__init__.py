"""Whole systems in virtual time: several executors and a store, one seed, and everything that can go wrong."""

from milepost.testing.simulation.audit import Change, Invariant, Violation
from milepost.testing.simulation.faults import Fault
from milepost.testing.simulation.report import SimulationReport
from milepost.testing.simulation.simulation import ALL_FAULTS, Scenario, Simulation, simulate
from milepost.testing.simulation.world import Stuck

__all__ = [
    "ALL_FAULTS",
    "Change",
    "Fault",
    "Invariant",
    "Scenario",
    "Simulation",
    "SimulationReport",
    "Stuck",
    "Violation",
    "simulate",
]
