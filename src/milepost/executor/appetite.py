"""How much more an executor could take, of what, and when it is worth asking the store for it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Set
from datetime import datetime
from typing import final

import trio

from milepost.executor.claiming import Catch, Demand
from milepost.executor.config import ExecutorConfig
from milepost.executor.workload import Workload
from milepost.lifecycle.queues import QueueSettings


@final
class Appetite:
    """Asks while there may be something to claim and a slot is free; learns from each turn what there was."""

    def __init__(self, config: ExecutorConfig, workload: Workload) -> None:
        self.claiming = True
        self.next_due = math.inf
        self.limited_queues: Set[str] = frozenset()
        self._config = config
        self._workload = workload
        self._look = True
        self._queues: tuple[str, ...] = ()
        self._searches = True
        self._not_before = self._refresh_from = -math.inf
        self._settings: Mapping[str, QueueSettings] = {}
        self._passes: Mapping[str, float] = {}

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
        return self.demand() is not None

    def demand(self) -> Demand | None:
        """What a turn now should ask for."""
        free = self._config.concurrency - self._workload.active
        now = time.monotonic()
        if not self._look or not self.claiming or free <= 0 or now < self._not_before:
            return None
        queues = None if self._config.queues is None else self._open_queues(self._config.queues)
        if queues is not None and not queues:
            return None
        return Demand(
            free,
            queues,
            self._queues,
            self._searches,
            settings=self._settings,
            refreshes=now >= self._refresh_from,
            passes=self._passes,
        )

    def ask(self) -> None:
        """A turn asks now; what is heard of while it is under way is worth another one."""
        self._look = False

    def learn(self, catch: Catch, now: datetime) -> None:
        """What a turn that asked has found, at `now` by the store's clock."""
        self._queues = tuple(catch.queues)
        self._passes = catch.passes
        # A task in a known queue starts without a search for others, which the next turn makes up for.
        self._searches = not catch.searched
        if catch.settings is not None:
            self._settings = catch.settings
            self.limited_queues = frozenset(each.name for each in catch.settings.values() if each.concurrency)
            self._refresh_from = time.monotonic() + self._config.poll_seconds
        # A claim takes at most half of its limit from a dead executor, so whoever got something asks again.
        self._look = self._look or bool(catch.claimed)
        if catch.next_due is not None:
            self._fall_due(catch.next_due, now)

    def _open_queues(self, limits: Mapping[str, int]) -> dict[str, int]:
        busy = self._workload.busy
        return {queue: limit - busy[queue] for queue, limit in limits.items() if limit > busy[queue]}

    def _fall_due(self, due: datetime, now: datetime) -> None:
        # A hair later: a timer that fires a moment early would find nothing and wait for the next poll.
        self.next_due = trio.current_time() + max(0.0, (due - now).total_seconds()) + 0.001
