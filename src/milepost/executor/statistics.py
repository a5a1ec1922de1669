"""A frozen look at one executor."""

from __future__ import annotations

from typing import final

from attrs import frozen

from milepost.telemetry import StoreCondition


@final
@frozen(kw_only=True)
class ExecutorStatistics:
    """Counts since the executor was opened, and what it does now.

    `discarded` are runs that lost their claim; `refused` are writes that the store refused because of that. `pruned`
    are ended tasks that its retention did not keep, `fired` tasks that it enqueued for schedules.
    """

    executor: str
    running: int
    claimed: int
    ended: int
    commits: int
    discarded: int
    refused: int
    turns: int
    pruned: int
    fired: int
    store: StoreCondition
