"""The four answers that a task can give, as values.

`TaskResult[R, E]` is the closed union of `Success`, `Suspended`, `Failure` and `Cancellation`. Helpers named `with_*`
take a value, `for_*` only name a type. What comes out of a finished task is an `Outcome`. Nothing here does I/O, and
nothing here knows the executor. Read `answers`; `parts` has what they are made of.
"""

from milepost.results.answers import (
    Cancellation,
    CancellationFor,
    Failure,
    FailureFor,
    Outcome,
    Success,
    Suspended,
    SuspendedFor,
    SuspendedWith,
    TaskResult,
    TaskValue,
    from_result,
)
from milepost.results.parts import Carrying, Empty, EventLike, Final, FollowUp, Unchanged, UntilEvent, Wake

__all__ = [
    "Cancellation",
    "CancellationFor",
    "Carrying",
    "Empty",
    "EventLike",
    "Failure",
    "FailureFor",
    "Final",
    "FollowUp",
    "Outcome",
    "Success",
    "Suspended",
    "SuspendedFor",
    "SuspendedWith",
    "TaskResult",
    "TaskValue",
    "Unchanged",
    "UntilEvent",
    "Wake",
    "from_result",
]
