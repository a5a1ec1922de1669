"""How long ended tasks and what they logged are kept, and what was removed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, final

from attrs import Attribute, field, frozen

from milepost.errors import ConfigurationError
from milepost.lifecycle.states import TaskState

BATCH_MAX = 10_000
_FIRST_MOMENT = datetime.min.replace(tzinfo=UTC)


def _age(_: Any, attribute: Attribute[Any], value: object) -> None:
    if value is not None and (not isinstance(value, timedelta) or value < timedelta(0)):
        raise ConfigurationError(
            f"Retention.{attribute.name} must be a timedelta of zero or more, or None to keep for ever, got {value!r}"
        )


def _batch(_: Any, attribute: Attribute[Any], value: int) -> None:
    if type(value) is not int or not 1 <= value <= BATCH_MAX:
        raise ConfigurationError(f"Retention.batch must be a whole number from 1 to {BATCH_MAX}, got {value!r}")


@final
@frozen(kw_only=True)
class Retention:
    """How long tasks are kept after their end, by how they ended, and lines after they were logged; None: for ever.

    Quarantined tasks have not ended: they are kept until a person decides. `batch` is how many tasks, or lines, one
    transaction removes at most. Raises `ConfigurationError` for what is out of range.

    >>> Retention(completed=timedelta(days=30)).failed is None
    True
    """

    completed: timedelta | None = field(default=None, validator=_age)
    cancelled: timedelta | None = field(default=None, validator=_age)
    failed: timedelta | None = field(default=None, validator=_age)
    logs: timedelta | None = field(default=None, validator=_age)
    batch: int = field(default=500, validator=_batch)

    def ended_before(self, now: datetime) -> dict[TaskState, datetime]:
        """Before when a task must have ended to be removed now, by state; the states that are kept are absent."""
        ages = {
            TaskState.COMPLETED: self.completed,
            TaskState.CANCELLED: self.cancelled,
            TaskState.FAILED: self.failed,
        }
        return {state: _earlier(now, age) for state, age in ages.items() if age is not None}

    def logged_before(self, now: datetime) -> datetime | None:
        """Before when a line must have been logged to be removed now; None: lines are kept as long as their task."""
        return None if self.logs is None else _earlier(now, self.logs)


@final
@frozen(kw_only=True)
class PruneSummary:
    """How many tasks were removed, by how they had ended, and how many lines of tasks that are still there."""

    completed: int = 0
    cancelled: int = 0
    failed: int = 0
    logs: int = 0

    def __add__(self, other: PruneSummary) -> PruneSummary:
        return PruneSummary(
            completed=self.completed + other.completed,
            cancelled=self.cancelled + other.cancelled,
            failed=self.failed + other.failed,
            logs=self.logs + other.logs,
        )

    @property
    def tasks(self) -> int:
        """How many tasks were removed in all."""
        return self.completed + self.cancelled + self.failed


def _earlier(now: datetime, age: timedelta) -> datetime:
    try:
        return now - age
    except OverflowError:
        return _FIRST_MOMENT
