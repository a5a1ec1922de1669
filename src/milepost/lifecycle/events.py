"""What can happen to a task: the closed union that `transition` decides on.

Payloads are already encoded, times already resolved to instants or delays; no user type reaches this floor.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypeAlias, final

from attrs import frozen

from milepost.crash import Crash
from milepost.payload import JsonText


@final
@frozen
class Claimed:
    """An executor took the task: a due one, or a running one whose owner's lease has expired."""

    executor: str
    token: str


@final
@frozen
class Committed:
    """The run made progress and goes on."""

    execution_metadata: JsonText


@final
@frozen
class Succeeded:
    """The task answered Success."""

    result: JsonText


@final
@frozen
class Suspended:
    """The task answered Suspended: with the next execution metadata or None, and until when (None: until proceeded)."""

    execution_metadata: JsonText | None
    until: datetime | timedelta | None = None
    at_once: bool = False


@final
@frozen
class Failed:
    """The task answered Failure. `final` and `retry_after` are the answer's own wish, `retryable` is the policy's."""

    error: JsonText
    retryable: bool = False
    final: bool = False
    retry_after: timedelta | None = None


@final
@frozen
class GaveUp:
    """The task answered Cancellation."""

    error: JsonText


@final
@frozen
class Crashed:
    """The attempt ended without an answer: an exception, or a timeout."""

    crash: Crash
    retryable: bool = True


@final
@frozen
class DeadlineMissed:
    """The whole task took longer than its `deadline_seconds`."""


@final
@frozen
class Interrupted:
    """A graceful stop cut the run."""


@final
@frozen
class Undecodable:
    """This executor cannot read the row."""

    reason: str


@final
@frozen
class Deferred:
    """This executor gives the claim back unused, for `delay`: it runs suspects one at a time."""

    delay: timedelta


@final
@frozen
class Stalled:
    """The task was claimed too often without making progress: it seems to kill its process."""


@final
@frozen
class CancelRequested:
    """Somebody outside asked for the end of the task."""

    reason: str


@final
@frozen
class CancelObeyed:
    """The run ended because of a cancel request."""


@final
@frozen
class Requeued:
    """An operator opens a new epoch: from the last commit, or from the start."""

    from_start: bool = False


Event: TypeAlias = (
    Claimed
    | Committed
    | Succeeded
    | Suspended
    | Failed
    | GaveUp
    | Crashed
    | DeadlineMissed
    | Interrupted
    | Undecodable
    | Deferred
    | Stalled
    | CancelRequested
    | CancelObeyed
    | Requeued
)
