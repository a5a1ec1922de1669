"""What ties a task to others: who waits for its end, what its end must see to, and how it takes the ends of its own
children."""

from __future__ import annotations

from enum import Enum, Flag


class Tie(Flag):
    """What the end of a task must see to, beyond the task itself. Stored as the sum of its bits."""

    NONE = 0
    AWAITED = 1
    """Somebody waits for its end: a parent, or a group."""
    HOOKED = 2
    """Its definition has an `on_outcome`, which is called once it has ended."""
    TREE_CANCELLED = 4
    """Its cancel was asked for with all its descendants: what it still enqueues is cancelled as well."""
    FAILED_FAST = 8
    """A child that it waits for has ended without a success, and the others have been cancelled for it."""
    HANDS_OVER = 16
    """Its `on_outcome` takes the children that it has waited for: they are that one's then, and its own no more."""


class Join(Enum):
    """How a task that waits for children takes their ends. Its `value` is what is stored."""

    ALL_FINISHED = "all finished"
    """It goes on once all are final."""
    ALL_SUCCEEDED = "all succeeded"
    """It goes on once all are completed, and is cancelled if all are final and one is not completed."""
    ALL_FINISHED_FAIL_FAST = "all finished, fail fast"
    """As ALL_FINISHED; the first child that ends without a success has the others cancelled."""
    ALL_SUCCEEDED_FAIL_FAST = "all succeeded, fail fast"
    """As ALL_SUCCEEDED; the first child that ends without a success has the others cancelled."""

    @property
    def needs_success(self) -> bool:
        """Whether it is cancelled unless all children are completed."""
        return self in (Join.ALL_SUCCEEDED, Join.ALL_SUCCEEDED_FAIL_FAST)

    @property
    def fails_fast(self) -> bool:
        """Whether the first child without a success has the others cancelled."""
        return self in (Join.ALL_FINISHED_FAIL_FAST, Join.ALL_SUCCEEDED_FAIL_FAST)

    @property
    def failing_fast(self) -> Join:
        """The same, failing fast."""
        return Join.ALL_SUCCEEDED_FAIL_FAST if self.needs_success else Join.ALL_FINISHED_FAIL_FAST
