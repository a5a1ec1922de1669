"""How much more an executor could take, of what, and when it is worth asking the store for it."""

from __future__ import annotations

import math
import time
from datetime import datetime
from typing import final

import trio

from milepost.executor.config import ExecutorConfig
from milepost.executor.turn import Demand, TurnReceipt
from milepost.executor.workload import Workload


@final
class Appetite:
    """Asks while there may be something to claim and a slot is free; learns from each turn what there was."""

    def __init__(self, config: ExecutorConfig, workload: Workload) -> None:
        self.claiming = True
        self.next_due = math.inf
        self._config = config
        self._workload = workload
        self._look = True
        self._queues: tuple[str, ...] = ()
        self._searches = True
        self._not_before = -math.inf

    def use(self, config: ExecutorConfig) -> None:
        """Go on with these settings."""
        self._config = config
        self.look_again()

    def look_again(self) -> None:
        """There may be something to claim."""
        self._look = True

    def pause(self) -> None:
        """Claim nothing for one poll."""
        self._not_before = time.monotonic() + self._config.poll_seconds

    @property
    def wants_more(self) -> bool:
        """Whether a turn now should ask for more."""
        return self.demand(0) is not None

    def demand(self, rotation: int) -> Demand | None:
        """What a turn now should ask for; `rotation` says which queue comes first."""
        free = self._config.concurrency - self._workload.active
        if not self._look or not self.claiming or free <= 0 or time.monotonic() < self._not_before:
            return None
        if self._config.queues is None:
            return Demand(free, None, rotation, self._queues, self._searches)
        busy, limits = self._workload.busy, self._config.queues
        open_queues = {queue: limit - busy[queue] for queue, limit in limits.items() if limit > busy[queue]}
        return Demand(free, open_queues, rotation) if open_queues else None

    def ask(self) -> None:
        """A turn asks now; what is heard of while it is under way is worth another one."""
        self._look = False

    def learn(self, receipt: TurnReceipt) -> None:
        """What a turn that asked has found."""
        self._queues = tuple(receipt.queues)
        # A task in a known queue starts without a search for others, which the next turn makes up for.
        self._searches = not receipt.searched
        # A claim takes at most half of its limit from a dead executor, so whoever got something asks again.
        self._look = self._look or bool(receipt.claimed or receipt.ended)
        if receipt.next_due is not None:
            self._fall_due(receipt.next_due, receipt.now)

    def _fall_due(self, due: datetime, now: datetime) -> None:
        # A hair later: a timer that fires a moment early would find nothing and wait for the next poll.
        self.next_due = trio.current_time() + max(0.0, (due - now).total_seconds()) + 0.001
