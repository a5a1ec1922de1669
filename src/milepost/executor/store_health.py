"""How the store answers, as a value; told once per change, with a jittered back-off while it does not."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable
from typing import final

import trio

from milepost.errors import SchemaNewer, SchemaOld, StoreBusy, StoreError, StoreFull, StoreReadOnly
from milepost.telemetry import Observation, StoreChanged, StoreCondition

_log = logging.getLogger("milepost.executor")
_FIRST_SECONDS = 0.05
_LONGEST_SECONDS = 30.0


@final
class StoreHealth:
    """The store's condition as the executor sees it."""

    def __init__(self, tell: Callable[[Observation], None]) -> None:
        self.condition = StoreCondition.UP
        self._tell = tell
        self._delay = _FIRST_SECONDS
        self._answered_from = -math.inf

    def answered(self, sent_at: float) -> None:
        """The store did what it was asked at `sent_at` (monotonic)."""
        self._answered_from = max(self._answered_from, sent_at)
        if self.condition is not StoreCondition.UP:
            self._change(StoreCondition.UP, "", logging.INFO)
            self._delay = _FIRST_SECONDS

    async def failed(self, error: StoreError, sent_at: float, *, longest: float = _LONGEST_SECONDS) -> None:
        """The store refused what it was asked at `sent_at`; returns when it is worth another try."""
        condition = condition_of(error)
        # Calls overlap: one that fails after a later one was answered tells of what is over.
        is_news = sent_at >= self._answered_from
        if is_news and condition is not self.condition:
            self._change(condition, str(error), logging.WARNING)
        delay = min(self._delay, longest)
        self._delay = min(self._delay * 2, _LONGEST_SECONDS)
        await trio.sleep(delay * random.uniform(0.5, 1))

    def _change(self, condition: StoreCondition, detail: str, level: int) -> None:
        self.condition = condition
        _log.log(level, "the store is %s%s", condition.value, f": {detail}" if detail else "")
        self._tell(StoreChanged(condition, detail))


def condition_of(error: StoreError) -> StoreCondition:
    """What an error says of the store."""
    match error:
        case StoreBusy():
            return StoreCondition.BUSY
        case StoreFull():
            return StoreCondition.FULL
        case StoreReadOnly():
            return StoreCondition.READ_ONLY
        case SchemaOld():
            return StoreCondition.SCHEMA_OLD
        case SchemaNewer():
            return StoreCondition.SCHEMA_NEWER
        case _:
            return StoreCondition.UNREACHABLE
