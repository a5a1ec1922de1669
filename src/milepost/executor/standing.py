"""The executor's standing among the others: its id, its lease, and what to do when the lease is gone.

An executor that could not renew in time must assume that the others have taken over its tasks. It drops every run and
goes on under a new id, which owns nothing; what the old id still owns counts as expired at once.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from secrets import token_hex
from typing import final

import attrs
import trio

from milepost.executor.config import ExecutorConfig
from milepost.executor.lease import LeaseKeeper
from milepost.executor.turn import change_lease, renew
from milepost.executor.workload import Workload
from milepost.lifecycle.terms import Terms
from milepost.registry import Registry
from milepost.stores.protocol import Lease, Session, Store


def _new_executor_id() -> str:
    # Random, for two processes must never share one; short, for every claim and every line of history carries it.
    return token_hex(8)


@final
class Standing:
    """Who the executor is at this moment."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        config: Callable[[], ExecutorConfig],
        workload: Workload,
        *,
        noticed: Callable[[], None],
    ) -> None:
        self.executor = _new_executor_id()
        self._store = store
        self._tasks = registry.versions
        self._policies = {name: task.policy for name, task in registry.tasks.items()}
        self._config = config
        self._workload = workload
        self._noticed = noticed
        self._gone = False
        self._keeper: LeaseKeeper | None = None
        self._changing = trio.Lock()

    @property
    def keeper(self) -> LeaseKeeper:
        """The thread that keeps the lease, once `open` has started it."""
        if self._keeper is None:
            raise RuntimeError("the lease was not opened")
        return self._keeper

    @property
    def is_lost(self) -> bool:
        """Whether the lease is gone, or so old that the others may take it for gone."""
        return self._gone or self.keeper.is_overdue

    async def open(self) -> None:
        """Announce the executor and keep its lease from now on. Raises StoreError when the store cannot be written."""
        await self._store.transact(partial(self._change, None))
        config = self._config()
        self._keeper = LeaseKeeper(
            lambda: self._store.transact_blocking(self.renew),
            lease_seconds=config.lease_seconds,
            stall_seconds=config.stall_seconds,
            lost=self.notice_loss,
        )
        self._keeper.start()

    async def begin_again(self) -> None:
        """Go on under a new id. Raises StoreError, and may then be called again."""
        async with self._changing:
            before, self.executor, self._gone = self.executor, _new_executor_id(), True
            sent_at = time.monotonic()
            await self._store.transact(partial(self._change, before))
            self._gone = False
            self.keeper.begin_again(sent_at)

    async def give_back(self, release: Callable[[Session, str], int]) -> int:
        """`release` what the executor has, by its id, and begin no more; gives what that gave. Raises StoreError."""
        # A new lease that was asked for and came after this one is gone would be nobody's, and look alive.
        await self._changing.acquire()
        executor = self.executor
        return await self._store.transact(lambda session: release(session, executor))

    async def announce_again(self) -> None:
        """Tell the others of changed settings. Raises StoreError, and may then be called again."""
        await self._store.transact(partial(self._announce, self.executor))

    def renew(self, session: Session) -> bool:
        """Extend the lease within a transaction; False when the others have forgotten this executor."""
        seconds = self._config().lease_seconds
        return renew(session, self.executor, seconds, now=session.now(), running=self._workload.active)

    def renew_if_due(self, session: Session) -> bool:
        """`renew` at the end of a transaction with effects, which may have kept everybody else from it; says whether.

        Not every time: the lease is one row, for which all such transactions of an executor would wait in turn.
        """
        return self.keeper.is_due and self.renew(session)

    def notice_loss(self) -> None:
        """Somebody found the lease gone."""
        self._gone = True
        self._noticed()

    def _change(self, before: str | None, session: Session) -> None:
        change_lease(session, before, self._lease_from)

    def _announce(self, executor: str, session: Session) -> None:
        config = self._config()
        for lease in session.leases():
            if lease.executor == executor:  # else it is lost, and the next one is announced with these settings
                terms = self._terms(config)
                changed = attrs.evolve(lease, slots=config.concurrency, queues=_served(config), terms=terms)
                session.open_lease(changed)

    def _lease_from(self, now: datetime) -> Lease:
        config = self._config()
        return Lease(
            executor=self.executor,
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=now,
            renewed_at=now,
            lease_until=now + timedelta(seconds=config.lease_seconds),
            slots=config.concurrency,
            running=self._workload.active,
            tasks=self._tasks,
            queues=_served(config),
            terms=self._terms(config),
        )

    def _terms(self, config: ExecutorConfig) -> Terms:
        return Terms.of(self._policies, stalls_max=config.stalls_max, queue_slots=config.queues or {})


def _served(config: ExecutorConfig) -> tuple[str, ...] | None:
    return None if config.queues is None else tuple(config.queues)
