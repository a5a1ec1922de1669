"""What is used of limits, in PostgreSQL.

**Locks.** Whoever decides on a key of a limit locks the key itself, by an advisory lock, before it counts: in a
statement of its own, so that the next one sees what was committed while this one waited. Locks come after those of
tasks and of queues, all of a transaction's in one statement and in one order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias, final
from zlib import crc32

from milepost.clock import EPOCH
from milepost.lifecycle.gates import Sharer
from milepost.lifecycle.limits import LimitKey
from milepost.lifecycle.rates import RateUse
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.stores.postgres.arrays import moments, numbers, texts
from milepost.stores.postgres.rows import record_of

Row: TypeAlias = tuple[Any, ...]

_SIGN: Final = 1 << 31
_LOCKS: Final = 1_024
"""One lock serves many keys: a server has room for some thousands, and a turn may have as many keys as slots."""


@final
class PostgresLimits:
    """The `LimitTable` of one transaction; `query` runs a statement by its name. Who only reads locks nothing."""

    def __init__(self, query: Callable[..., list[Row]], schema: str, *, reads_only: bool) -> None:
        self._query = query
        self._schema = schema
        self._parked = "parked" if reads_only else "parked_locked"

    def lock(self, keys: Iterable[LimitKey]) -> None:
        locks = sorted({crc32("\0".join(key).encode()) % _LOCKS for key in keys})
        if locks:
            half = crc32(f"milepost limits of {self._schema}".encode()) - _SIGN
            self._query("lock_keys", half, numbers(locks))

    def rates(self, keys: Collection[LimitKey]) -> dict[LimitKey, RateUse]:
        rows = self._query("rates", *_columns(keys)) if keys else ()
        return {LimitKey(name, key): RateUse(used or EPOCH, slot or EPOCH) for name, key, used, slot in rows}

    def put_rates(self, used: Mapping[LimitKey, datetime]) -> None:
        if used:
            self._query("put_rates", *_columns(used), moments([*used.values()]))

    def forget_rates(self, *, before: datetime, limit: int) -> int:
        return len(self._query("forget_rates", before, max(0, limit)))

    def running(self, keys: Collection[LimitKey]) -> dict[LimitKey, int]:
        rows = self._query("sharing", *_columns(keys)) if keys else ()
        return {LimitKey(name, key): running for name, key, running in rows}

    def sharers(self, key: LimitKey, *, limit: int) -> list[Sharer]:
        return [Sharer(TaskId(id), executor) for id, executor in self._query("sharers", *key, max(0, limit))]

    def parked(self, most: Mapping[LimitKey, int], *, now: datetime) -> dict[LimitKey, list[TaskRecord]]:
        heads: dict[LimitKey, list[TaskRecord]] = {}
        rows = self._query(self._parked, *_columns(most), numbers([*most.values()]), now) if most else ()
        for record in map(record_of, rows):
            heads.setdefault(LimitKey(record.name, record.concurrency_key or ""), []).append(record)
        return heads

    def lines(self, *, after: LimitKey | None, limit: int) -> list[LimitKey]:
        rows = self._query("lines", *(after or ("", "")), limit) if limit > 0 else ()
        return [LimitKey(*row) for row in rows]


def _columns(keys: Iterable[LimitKey]) -> list[str]:
    return [texts(column) for column in zip(*keys, strict=True)]
