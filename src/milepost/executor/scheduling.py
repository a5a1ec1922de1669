"""Fires what schedules say, beside everything else: sleeps until the next instant, and holds no slot.

Every executor does, for every schedule, also for tasks that it does not have: the store sees to it that each instant
fires once. A firing only enqueues; who runs the task is left to the turns.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from functools import partial
from typing import Final, final

import trio

from milepost.errors import StoreError
from milepost.executor.config import ExecutorConfig
from milepost.payload import legible
from milepost.stores import firing
from milepost.stores.firing import Fired
from milepost.stores.protocol import Hint, Session, Store, Watch
from milepost.telemetry import Observation, ScheduleFailed, ScheduleFired

_IDLE_SECONDS: Final = 60.0
"""How long it sleeps while there is nothing to fire, ever. Who says something of schedules wakes it."""
_GAP_SECONDS: Final = 0.25
"""Between two looks for a hint's sake: while much is enqueued they are many, and hardly any is about schedules."""
_PAUSE_SECONDS: Final = 0.005
"""About how often it fires at most; instants that are closer to each other fire together."""

_log = logging.getLogger("milepost.executor")


@final
class Scheduling:
    """Fires schedules while its executor lives; `config` gives the settings of the moment."""

    def __init__(self, store: Store, config: Callable[[], ExecutorConfig], tell: Callable[[Observation], None]) -> None:
        self.fired = 0
        self._store = store
        self._config = config
        self._tell = tell

    async def run(self) -> None:
        """Fire what is due for ever. A store that is away is left to the turns to report."""
        watch = self._store.watch(Hint.DUE)
        try:
            while True:
                looked_at = trio.current_time()
                await self._rest(watch, await self._look(), looked_at)
        finally:
            watch.close()

    async def _look(self) -> float | None:
        """Fire what is due; gives for how many seconds nothing will be, None for ever."""
        try:
            while (left := await self._store.read(firing.until_due)) is not None and not left:
                await self._fire()
                await trio.sleep(_PAUSE_SECONDS)
        except StoreError:
            return self._config().poll_seconds
        except Exception:
            _log.exception("schedules could not be looked at, and will be looked at again")
            return self._config().poll_seconds
        return None if left is None else left.total_seconds()

    async def _rest(self, watch: Watch, seconds: float | None, looked_at: float) -> None:
        poll = self._config().poll_seconds * random.uniform(0.8, 1.2)
        if await watch.wait(max(_IDLE_SECONDS, poll) if seconds is None else min(seconds, poll)):
            gap = _GAP_SECONDS if seconds is None else min(seconds, _GAP_SECONDS)
            await trio.sleep_until(looked_at + gap)

    async def _fire(self) -> None:
        try:
            fired = await self._store.transact(_fire_due)
        except Exception as error:
            if _is_away(error):
                raise
            # The transaction of all fails with the one that the store does not take.
            for key in await self._store.transact(_due_keys):
                await self._fire_alone(key)
        else:
            self._told(fired)

    async def _fire_alone(self, key: str) -> None:
        try:
            fired = await self._store.transact(partial(_fire_one, key=key))
        except Exception as error:
            if _is_away(error):
                raise
            fired = await self._store.transact(partial(_put_off, key=key, reason=legible(error)))
        self._told(fired)

    def _told(self, fired: list[Fired]) -> None:
        for each in fired:
            match each:
                case ScheduleFired():
                    self.fired += 1
                case ScheduleFailed():
                    _log.warning(
                        "the schedule %r could not fire, next try %s: %s", each.key, each.retry_at, each.reason
                    )
            self._tell(each)


def _is_away(error: Exception) -> bool:
    """Whether the store could not be asked, or could not at this moment; it did not refuse what it was given."""
    return isinstance(error, StoreError) and type(error) is not StoreError


def _fire_due(session: Session) -> list[Fired]:
    return firing.fire_due(session, now=session.now())


def _fire_one(session: Session, key: str) -> list[Fired]:
    return firing.fire_one(session, key, now=session.now())


def _put_off(session: Session, key: str, reason: str) -> list[Fired]:
    return firing.put_off(session, key, reason, now=session.now())


def _due_keys(session: Session) -> list[str]:
    return [row.key for row in session.schedules.due(now=session.now(), limit=firing.BATCH)]
