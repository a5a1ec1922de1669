"""What is used of limits, in a SQLite file. Who may write is alone, so a lock is no more than to begin writing."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import Final, final

from milepost.clock import EPOCH, from_micros, to_micros
from milepost.lifecycle.gates import Sharer
from milepost.lifecycle.limits import LimitKey
from milepost.lifecycle.rates import RateUse
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.stores.sqlite.driver import Connection
from milepost.stores.sqlite.rows import record_of
from milepost.stores.sqlite.statements import statement

_RATES: Final = statement("rates")
_PUT_RATE: Final = statement("put_rate")
_FORGET_RATES: Final = statement("forget_rates")
_SHARING: Final = statement("sharing")
_SHARERS: Final = statement("sharers")
_PARKED: Final = statement("parked")
_NEXT_LINE: Final = statement("next_line")


@final
class SqliteLimits:
    """The `LimitTable` of one transaction; `begin` makes sure that it is one that writes."""

    def __init__(self, database: Connection, *, begin: Callable[[], None]) -> None:
        self._database = database
        self._begin = begin

    def lock(self, keys: Iterable[LimitKey]) -> None:
        self._begin()

    def rates(self, keys: Collection[LimitKey]) -> dict[LimitKey, RateUse]:
        rows = self._database.execute(_RATES, (json.dumps([*keys]),))
        return {LimitKey(name, key): RateUse(_moment(used), _moment(slot)) for name, key, used, slot in rows}

    def put_rates(self, used: Mapping[LimitKey, datetime]) -> None:
        self._database.many(_PUT_RATE, [(*key, to_micros(until)) for key, until in used.items()])
        self._begin()

    def forget_rates(self, *, before: datetime, limit: int) -> int:
        forgotten = self._database.execute(_FORGET_RATES, (to_micros(before), max(0, limit)))
        self._begin()
        return len(forgotten)

    def running(self, keys: Collection[LimitKey]) -> dict[LimitKey, int]:
        rows = self._database.execute(_SHARING, (json.dumps([*keys]),))
        return {LimitKey(name, key): running for name, key, running in rows}

    def sharers(self, key: LimitKey, *, limit: int) -> list[Sharer]:
        rows = self._database.execute(_SHARERS, (*key, max(0, limit)))
        return [Sharer(TaskId(id), executor) for id, executor in rows]

    def parked(self, most: Mapping[LimitKey, int], *, now: datetime) -> dict[LimitKey, list[TaskRecord]]:
        heads = {key: self._database.execute(_PARKED, (*key, to_micros(now), max(0, n))) for key, n in most.items()}
        return {key: [record_of(row) for row in head] for key, head in heads.items() if head}

    def lines(self, *, after: LimitKey | None, limit: int) -> list[LimitKey]:
        found: list[LimitKey] = []
        last = LimitKey("", "") if after is None else after
        while len(found) < limit and (rows := self._database.execute(_NEXT_LINE, last)):
            last = LimitKey(*rows[0])
            found.append(last)
        return found


def _moment(micros: int | None) -> datetime:
    return EPOCH if micros is None else from_micros(micros)
