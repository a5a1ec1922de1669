"""What a turn takes: from which queues, how many of each, and when it is worth asking again.

Runs in the turn's transaction. Queues without a fleet-wide limit are claimed from as they are. Those with one are
looked at first and locked only where something is due and a slot seems free; what runs is counted again under the lock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final, final

from attrs import frozen

from milepost.executor.division import Wish, divide, fill
from milepost.lifecycle.queues import QueueSettings
from milepost.lifecycle.record import TaskRecord
from milepost.stores.protocol import ClaimOrder, Session

_NO_SETTINGS: Final[Mapping[str, QueueSettings]] = MappingProxyType({})
_NO_PASSES: Final[Mapping[str, float]] = MappingProxyType({})


@final
@frozen
class Demand:
    """What the executor could take: so many in all, and so many of each queue (None: of any).

    `known` are the queues that the last turn found; the store is asked for others when they do not fill the demand, or,
    unless `searches`, only when they have nothing. `settings` are what the executor has heard of queues. With
    `refreshes` the store is asked for both before anything is claimed. `passes` say whose turn it is
    (`executor.division`).
    """

    limit: int
    queues: Mapping[str, int] | None
    known: Sequence[str] = ()
    searches: bool = True
    settings: Mapping[str, QueueSettings] = _NO_SETTINGS
    refreshes: bool = False
    passes: Mapping[str, float] = _NO_PASSES


@final
@frozen(kw_only=True)
class Catch:
    """What was claimed, and what was learned of queues on the way. `settings` are None where nobody asked for them.

    `next_due` is when there will be more; it is looked for only where nothing was claimed.
    """

    claimed: Sequence[TaskRecord]
    queues: Sequence[str]
    searched: bool
    settings: Mapping[str, QueueSettings] | None
    passes: Mapping[str, float]
    next_due: datetime | None


def claim_work(session: Session, executor: str, names: Mapping[str, int], demand: Demand, now: datetime) -> Catch:
    """Claim what is demanded, divided between queues by weight; what some leave goes to the others."""
    known = demand.known if demand.queues is None else tuple(demand.queues)
    net = _Net(session, executor, names, demand, now)
    searched = False
    if demand.refreshes:
        net.refresh()
        if demand.queues is None:
            known, searched = session.queues(names), True
    net.cast(known)
    if demand.queues is None and not searched and net.free > 0 and (demand.searches or not net.claimed):
        found, searched = session.queues(names), True
        net.cast([queue for queue in found if queue not in known])
        known = found
    next_due = None if net.claimed else net.next_due(known)
    if next_due is not None and next_due <= now and net.refreshed is None:
        # Something is due and cannot be had: perhaps somebody has limited its queue, and the limit is not known here.
        net.refresh()
        net.cast(known)
        next_due = None if net.claimed else net.next_due(known)
    return Catch(
        claimed=net.claimed,
        queues=known,
        searched=searched,
        settings=net.refreshed,
        passes=net.passes,
        next_due=next_due,
    )


@final
class _Net:
    """One turn's claims, from queue to queue."""

    def __init__(
        self, session: Session, executor: str, names: Mapping[str, int], demand: Demand, now: datetime
    ) -> None:
        self.claimed: list[TaskRecord] = []
        self.refreshed: Mapping[str, QueueSettings] | None = None
        self.passes = demand.passes
        self.free = demand.limit
        self._session = session
        self._executor = executor
        self._names = names
        self._demand = demand
        self._now = now
        self._settings = demand.settings
        self._due_max: dict[str, int] = {}

    def refresh(self) -> None:
        """Hear of everything that was said of queues."""
        self._settings = self.refreshed = {each.name: each for each in self._session.settings.all()}

    def cast(self, queues: Sequence[str]) -> None:
        """Claim from `queues` what is still free."""
        if self._settings:
            self._count(queues)
        if len(queues) == 1:
            (queue,) = queues
            most = min(self.free, self._most(queue))
            self.free -= self._take(queue, most) if most > 0 else 0
            return
        wishes = {queue: Wish(self._weight(queue), self._most(queue)) for queue in queues}
        division = divide(self.free, wishes, self.passes)
        self.passes = division.passes
        self.free = fill(self.free, wishes, division, self._take)

    def next_due(self, queues: Sequence[str]) -> datetime | None:
        """When more could be claimed from `queues`; of those that are full as soon as somebody tells."""
        return self._session.next_due(self._names, [queue for queue in queues if self._due_max.get(queue, 1) > 0])

    def _take(self, queue: str, slots: int) -> int:
        due_max = self._due_max.get(queue)
        order = ClaimOrder(self._executor, queue, self._names, slots, due_max)
        claimed = self._session.claim(order, now=self._now)
        self.claimed += claimed
        if due_max is not None:
            self._due_max[queue] = max(0, due_max - len(claimed))
        return len(claimed)

    def _weight(self, queue: str) -> int:
        return self._settings[queue].weight if queue in self._settings else 1

    def _most(self, queue: str) -> int:
        """How many slots the queue could take. Whoever has just heard of all settings takes over from the dead too."""
        served = self._demand.queues
        own = self._demand.limit if served is None else served[queue]
        return own if self.refreshed is not None else min(own, self._due_max.get(queue, own))

    def _count(self, queues: Sequence[str]) -> None:
        """Find out how many more of each limited queue may run."""
        limited = [queue for queue in queues if _limit_of(self._settings, queue) is not None]
        if not limited:
            return
        settings = self._session.settings
        self._due_max.update(dict.fromkeys(limited, 0))
        due = self._session.next_due(self._names, limited)
        if due is None or due > self._now:
            return
        # First a glance, so that executors do not wait for each other at the door of a queue that is full.
        roomy = [
            queue for queue, free in self._free(settings.get(limited), limited).items() if free is None or free > 0
        ]
        for queue, free in self._free(settings.lock_running(roomy), roomy).items():
            if free is None:
                del self._due_max[queue]  # it is not limited any more
            else:
                self._due_max[queue] = free

    def _free(self, said: Mapping[str, QueueSettings], queues: Sequence[str]) -> dict[str, int | None]:
        """How many more tasks of each queue may run; None is any number."""
        running = self._session.settings.running
        limits = {queue: _limit_of(said, queue) for queue in queues}
        return {queue: None if limit is None else max(0, limit - running(queue)) for queue, limit in limits.items()}


def _limit_of(said: Mapping[str, QueueSettings], queue: str) -> int | None:
    return said[queue].concurrency if queue in said else None
