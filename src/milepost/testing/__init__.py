"""Tools for testing, without any test framework: call a task and see what it did, and prove a store.

`recorded_execution` and `run_once` are for unit tests of tasks; `check_store` proves that a store keeps every promise
of `stores/protocol.py`.
"""

from milepost.testing.conformance import MakeStore, StoreCheck, check_store, store_checks
from milepost.testing.recorded import (
    BlockingRecordedExecution,
    RecordedExecution,
    RecordedTransaction,
    recorded_execution,
)
from milepost.testing.runs import Run, run_once

__all__ = [
    "BlockingRecordedExecution",
    "MakeStore",
    "RecordedExecution",
    "RecordedTransaction",
    "Run",
    "StoreCheck",
    "check_store",
    "recorded_execution",
    "run_once",
    "store_checks",
]
