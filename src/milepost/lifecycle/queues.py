"""What operators have said of a queue, as one value."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import final

from attrs import frozen


class WhenFull(Enum):
    """What becomes of a task that its queue has no room for."""

    REJECT = "reject"
    WAIT = "wait"
    SPILL = "spill"


@final
@frozen(kw_only=True)
class QueueSettings:
    """How a queue differs from one that nobody has said anything of, which is what the defaults are.

    `weight` is its share of free slots beside other queues. `concurrency` bounds how many of its tasks run at once in
    the whole fleet, `capacity` how many may wait in it; one too many is what `when_full` says: refused, kept waiting by
    its client, or put into `spill_to`.
    """

    name: str
    paused_at: datetime | None = None
    paused_reason: str = ""
    weight: int = 1
    concurrency: int | None = None
    capacity: int | None = None
    when_full: WhenFull = WhenFull.REJECT
    spill_to: str | None = None
