"""What is used of limits, in memory. One transaction at a time has the tables, so locks are none."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from functools import partial
from heapq import nsmallest
from itertools import islice
from typing import final

from milepost.clock import EPOCH
from milepost.lifecycle.gates import Sharer
from milepost.lifecycle.limits import LimitKey
from milepost.lifecycle.rates import RateUse
from milepost.lifecycle.record import TaskRecord
from milepost.stores.memory.tables import Tables


@final
class MemoryLimits:
    """The `LimitTable` of one transaction. `change` notes how to undo what is about to be done."""

    def __init__(self, tables: Tables, change: Callable[[Callable[[], object]], None]) -> None:
        self._tables = tables
        self._sharing = tables.sharing
        self._change = change

    def lock(self, keys: Iterable[LimitKey]) -> None:
        return

    def rates(self, keys: Collection[LimitKey]) -> dict[LimitKey, RateUse]:
        used = self._sharing.used
        return {key: RateUse(used.get(key, EPOCH), self._sharing.last_slot(key)) for key in keys}

    def put_rates(self, used: Mapping[LimitKey, datetime]) -> None:
        for key, until in used.items():
            self._put(key, until)

    def forget_rates(self, *, before: datetime, limit: int) -> int:
        idle = ((until, key) for key, until in self._sharing.used.items() if until < before)
        forgotten = nsmallest(max(0, limit), idle)
        for _, key in forgotten:
            self._put(key, None)
        return len(forgotten)

    def running(self, keys: Collection[LimitKey]) -> dict[LimitKey, int]:
        return {key: self._sharing.running[key] for key in keys}

    def sharers(self, key: LimitKey, *, limit: int) -> list[Sharer]:
        tables = self._tables
        ids = (id for owner in tables.owners() for _, owned in tables.owned(owner) for id in owned)
        running = (tables.rows[id].record for id in ids)
        sharing = [each for each in running if (each.name, each.concurrency_key) == key]
        return [Sharer(each.id, each.executor or "") for each in nsmallest(max(0, limit), sharing, key=_by_id)]

    def parked(self, most: Mapping[LimitKey, int], *, now: datetime) -> dict[LimitKey, list[TaskRecord]]:
        heads = {key: self._head(key, count, now) for key, count in most.items()}
        return {key: head for key, head in heads.items() if head}

    def lines(self, *, after: LimitKey | None, limit: int) -> list[LimitKey]:
        return nsmallest(max(0, limit), (key for key in self._sharing.lines if after is None or key > after))

    def _head(self, key: LimitKey, count: int, now: datetime) -> list[TaskRecord]:
        line = self._sharing.lines.get(key, ())
        first = islice((parked.id for parked in line if parked.due_at > now), max(0, count))
        return [self._tables.rows[id].record for id in first]

    def _put(self, key: LimitKey, until: datetime | None) -> None:
        self._change(partial(self._set, key, self._sharing.used.get(key)))
        self._set(key, until)

    def _set(self, key: LimitKey, until: datetime | None) -> None:
        if until is None:
            self._sharing.used.pop(key, None)
        else:
            self._sharing.used[key] = until


def _by_id(record: TaskRecord) -> str:
    return record.id
