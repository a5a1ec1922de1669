"""Removes what the retention of an executor does not keep: now and then, in small steps, beside everything else.

Nothing here is on the way of a task. A step looks at some thousand tasks in a reading transaction, and removes at most
a batch in a writing one; where it left off is kept in memory, so that no index is needed.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from functools import partial
from typing import Final, final

import trio
from attrs import frozen

from milepost.errors import StoreError
from milepost.executor.config import ExecutorConfig
from milepost.lifecycle.record import TaskId
from milepost.lifecycle.retention import PruneSummary, Retention
from milepost.stores import prune
from milepost.stores.protocol import Session, Store
from milepost.stores.tables import EndedPage

_PAUSE_SECONDS: Final = 0.25
"""About how long the store is left alone between two steps."""

_log = logging.getLogger("milepost.executor")


@final
@frozen
class _Looked:
    """What a step has found, and how many executors are alive."""

    page: EndedPage
    executors: int


@final
class Pruning:
    """Walks the tasks again and again while its executor lives; `config` gives the settings of the moment."""

    def __init__(self, store: Store, config: Callable[[], ExecutorConfig]) -> None:
        self.total = PruneSummary()
        self._store = store
        self._config = config
        self._executors = 1

    async def run(self) -> None:
        """Prune for ever; a fault of the store, or anything else, ends a walk and never the executor."""
        while True:
            await trio.sleep(self._rest_seconds())
            retention = self._config().retention
            if retention is None:
                continue
            try:
                await self.walk(retention)
            except StoreError as error:
                _log.info("what is old could not be removed, and will be tried again: %s", error)
            except Exception:
                _log.exception("what is old could not be removed, and will be tried again")

    async def walk(self, retention: Retention) -> None:
        """One walk over all tasks; ends early where another executor is at it."""
        if await self._remove_tasks(retention) and retention.logs is not None:
            await self._remove_lines(retention)

    async def _remove_tasks(self, retention: Retention) -> bool:
        """Whether the walk came to its end."""
        cursor: TaskId | None = None
        while True:
            looked = await self._store.read(partial(_look, retention=retention, after=cursor))
            self._executors = looked.executors
            if looked.page.tasks:
                removed = await self._transact(partial(prune.remove_unless_busy, tasks=looked.page.tasks))
                if removed is None:
                    return False
            cursor = looked.page.cursor
            if cursor is None:
                return True
            await _pause()

    async def _remove_lines(self, retention: Retention) -> None:
        while True:
            removed = await self._transact(partial(prune.remove_lines_unless_busy, retention=retention))
            if removed is None or removed.logs < retention.batch:
                return
            await _pause()

    async def _transact(self, function: Callable[[Session], PruneSummary | None]) -> PruneSummary | None:
        # What a power cut brings back is removed the next time.
        removed = await self._store.transact(function, durable=False)
        self.total += removed or PruneSummary()
        return removed

    def _rest_seconds(self) -> float:
        # All executors together walk about as often as one alone would, and not at the same time.
        return self._config().prune_seconds * self._executors * random.uniform(0.5, 1.5)


def _look(session: Session, *, retention: Retention, after: TaskId | None) -> _Looked:
    now = session.now()
    alive = sum(lease.is_alive(now) for lease in session.leases())
    return _Looked(prune.look(session, retention, after=after, now=now), max(1, alive))


async def _pause() -> None:
    await trio.sleep(_PAUSE_SECONDS * random.uniform(0.5, 1.5))
