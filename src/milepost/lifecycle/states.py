"""The states of a task, and the groups that rules speak of."""

from __future__ import annotations

from enum import Enum


class LimitKind(Enum):
    """Which limit put a task back."""

    RATE = "rate"
    CONCURRENCY = "concurrency"


class TaskState(Enum):
    """Where a task stands. Its `value` is what is stored."""

    PENDING = "pending"
    RUNNING = "running"
    SUSPENDED = "suspended"
    RETRYING = "retrying"
    INTERRUPTED = "interrupted"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    QUARANTINED = "quarantined"

    @property
    def is_final(self) -> bool:
        """Completed, failed or cancelled: the outcome never changes; only a requeue opens a new epoch."""
        return self in FINAL_STATES

    @property
    def is_live(self) -> bool:
        """Every state but the final ones; a live task holds its key."""
        return self not in FINAL_STATES


FINAL_STATES = frozenset({TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED})
WAITING_STATES = frozenset({TaskState.PENDING, TaskState.RETRYING, TaskState.INTERRUPTED})
"""Claimable as soon as they are due; a suspended task with a wake-up is claimable too."""
LIVE_STATES = frozenset(TaskState) - FINAL_STATES
