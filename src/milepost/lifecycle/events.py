"""What can happen to a task: the closed union that `transition` decides on.

Payloads are already encoded, times already resolved to instants or delays; no user type reaches this floor. The `repr`
of an event is without payloads, for it may be told in an error.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypeAlias, final

from attrs import field, frozen

from milepost.crash import Crash
from milepost.lifecycle.children import ChildCount
from milepost.lifecycle.states import LimitKind
from milepost.lifecycle.ties import Join
from milepost.payload import JsonText


@final
@frozen
class Claimed:
    """An executor took the task: a due one, or a running one whose owner's lease has expired."""

    executor: str
    token: str


@final
@frozen
class Moved:
    """A request as a newer version of its task has upgraded it, to be stored with the first that this one writes.

    A row has one version for all of it: else the next reader would upgrade once more what is new already.
    """

    version: int
    metadata: JsonText = field(repr=False)
    initial_execution_metadata: JsonText = field(repr=False)


@final
@frozen
class Committed:
    """The run made progress and goes on."""

    execution_metadata: JsonText = field(repr=False)
    moved: Moved | None = None


@final
@frozen
class Succeeded:
    """The task answered Success."""

    result: JsonText = field(repr=False)


@final
@frozen
class Suspended:
    """The task answered Suspended: with the next execution metadata or None, and until when (None: until proceeded).

    With `join` it waits for the tasks that the result enqueues, and there are some. With `event` and `key` it waits for
    that event, at most `until` then. `enqueues` says that the result carries follow-ups, which makes it a commit, and
    `has_effects` that it carries effects.
    """

    execution_metadata: JsonText | None = field(repr=False)
    until: datetime | timedelta | None = None
    at_once: bool = False
    moved: Moved | None = None
    join: Join | None = None
    event: str | None = None
    key: str | None = None
    enqueues: bool = False
    has_effects: bool = False


@final
@frozen
class Failed:
    """The task answered Failure. `final` and `retry_after` are the answer's own wish, `retryable` is the policy's.

    `shown` is what people may see of the error, unless that is all of it.
    """

    error: JsonText = field(repr=False)
    retryable: bool = False
    final: bool = False
    retry_after: timedelta | None = None
    shown: JsonText | None = field(default=None, repr=False)


@final
@frozen
class GaveUp:
    """The task answered Cancellation; `shown` as of `Failed`."""

    error: JsonText = field(repr=False)
    shown: JsonText | None = field(default=None, repr=False)


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
class StartMissed:
    """The task was claimed for the first time after it should have started (`start_by`)."""


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
class Limited:
    """A limit of its definition makes the task wait `until` then; `slot_at` is the start that it was given, if it was.

    A task that waits for a share is let in before.
    """

    kind: LimitKind
    until: datetime
    slot_at: datetime | None = None


@final
@frozen
class OverLimit:
    """A limit of its definition is used up, and the task does not wait."""

    kind: LimitKind
    reason: str


@final
@frozen
class Keyed:
    """The task is older than a limit of its definition: these are the keys that it is counted by from now on."""

    rate_key: str | None
    concurrency_key: str | None


@final
@frozen
class LetIn:
    """The task waited for a share of a concurrency limit, and one has become free."""


@final
@frozen
class Stalled:
    """The task was claimed too often without making progress: it seems to kill its process."""


@final
@frozen
class ChildrenEnded:
    """The last child that the task waits for has ended."""

    count: ChildCount


@final
@frozen
class ChildFailed:
    """A child that the task waits for has ended without a success."""


@final
@frozen
class Awaited:
    """Somebody waits for the end of the task from now on."""


@final
@frozen
class Received:
    """The event that the task waits for was sent, with this payload."""

    payload: JsonText = field(repr=False)


@final
@frozen
class CancelRequested:
    """Somebody outside asked for the end of the task; `by` is who. `tree`: and of all its descendants."""

    reason: str
    by: str = ""
    tree: bool = False


@final
@frozen
class CancelObeyed:
    """The run ended because of a cancel request."""


@final
@frozen
class Edited:
    """What an operator made of a request: metadata and execution metadata, the version that they are of, and the keys
    by which the task is counted under the limits of its definition."""

    metadata: JsonText = field(repr=False)
    execution_metadata: JsonText = field(repr=False)
    version: int
    rate_key: str | None = None
    concurrency_key: str | None = None


@final
@frozen
class Requeued:
    """An operator opens a new epoch: from the last commit, or from the start, perhaps of an edited request.

    `rejoins`: of the children that it waited for last, some are opened again, and it waits for them again.
    """

    from_start: bool = False
    reason: str = ""
    by: str = ""
    edited: Edited | None = None
    rejoins: bool = False


@final
@frozen
class Proceeded:
    """Somebody outside lets the task go on, now or from `at` on, if need be with other execution metadata."""

    execution_metadata: JsonText | None = field(default=None, repr=False)
    at: datetime | None = None
    reason: str = ""
    by: str = ""
    moved: Moved | None = None


Event: TypeAlias = (
    Claimed
    | Committed
    | Succeeded
    | Suspended
    | Failed
    | GaveUp
    | Crashed
    | DeadlineMissed
    | StartMissed
    | Interrupted
    | Undecodable
    | Deferred
    | Limited
    | OverLimit
    | Keyed
    | LetIn
    | Stalled
    | ChildrenEnded
    | ChildFailed
    | Awaited
    | Received
    | CancelRequested
    | CancelObeyed
    | Requeued
    | Proceeded
)
