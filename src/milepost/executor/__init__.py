"""Runs tasks: claims them in turns, calls them, settles their results, and gives everything back when it stops.

Read `turn` (the one transaction that carries everything), then `invoke` and `settle` (what a run becomes), then
`engine` (the loop around them).
"""

from milepost.executor.config import ExecutorConfig
from milepost.executor.opening import Executor, open_executor, run_executor
from milepost.executor.statistics import ExecutorStatistics

__all__ = ["Executor", "ExecutorConfig", "ExecutorStatistics", "open_executor", "run_executor"]
