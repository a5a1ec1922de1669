"""Tools for testing, without any test framework: call a task and see what it did, and prove a store.

`recorded_execution`, `run_once` and `run_to_end` are for unit tests of tasks, with `assert_enqueued` for what follows;
`drain` runs everything that is due in a store; by `virtual_clock` days of waiting pass in milliseconds; `crash_matrix`
cuts a task everywhere and resumes it, `simulate` runs whole systems under every fault; `check_store` proves that a
store keeps every promise of `stores/protocol.py`. The pytest plugin is in `plugin`.
"""

from milepost.testing.clock import VirtualClock, patient_config, virtual_clock
from milepost.testing.conformance import MakeStore, StoreCheck, check_store, store_checks
from milepost.testing.crash_matrix import EVERY_CHECKPOINT, EVERY_COMMIT, Cuts, crash_matrix
from milepost.testing.crash_report import CrashReport, Cut, CutAt, Difference
from milepost.testing.drain import drain
from milepost.testing.effects import DatabaseConnection
from milepost.testing.enqueued import Enqueuing, assert_enqueued
from milepost.testing.open_executor import OpenExecutor
from milepost.testing.recorded import (
    BlockingRecordedExecution,
    RecordedExecution,
    RecordedTransaction,
    recorded_execution,
)
from milepost.testing.runs import Run, run_once
from milepost.testing.simulation import Fault, Simulation, SimulationReport, simulate
from milepost.testing.to_end import RunToEnd, run_to_end

__all__ = [
    "EVERY_CHECKPOINT",
    "EVERY_COMMIT",
    "BlockingRecordedExecution",
    "CrashReport",
    "Cut",
    "CutAt",
    "Cuts",
    "DatabaseConnection",
    "Difference",
    "Enqueuing",
    "Fault",
    "MakeStore",
    "OpenExecutor",
    "RecordedExecution",
    "RecordedTransaction",
    "Run",
    "RunToEnd",
    "Simulation",
    "SimulationReport",
    "StoreCheck",
    "VirtualClock",
    "assert_enqueued",
    "check_store",
    "crash_matrix",
    "drain",
    "patient_config",
    "recorded_execution",
    "run_once",
    "run_to_end",
    "simulate",
    "store_checks",
    "virtual_clock",
]
