"""The verbs of the store on one open SQLite transaction. The SQL is in `queries`; decisions come from outside."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from heapq import merge
from itertools import chain, groupby, islice
from operator import attrgetter
from secrets import token_hex
from types import MappingProxyType
from typing import Final, NamedTuple, final

from milepost.clock import from_micros, to_micros
from milepost.errors import StoreError
from milepost.lifecycle.change import Transition, enqueued_history, is_audited
from milepost.lifecycle.record import Audit, HistoryEvent, HistoryKind, TaskId, TaskRecord
from milepost.stores.filter import TaskFilter
from milepost.stores.protocol import ClaimOrder, Held, Hint, Lease, Report, TaskCopy, hints_of
from milepost.stores.sqlite.driver import Connection
from milepost.stores.sqlite.ends import SqliteEnds
from milepost.stores.sqlite.events import SqliteEvents
from milepost.stores.sqlite.filters import count_of, ids_of, search_of
from milepost.stores.sqlite.joins import SqliteJoins
from milepost.stores.sqlite.limits import SqliteLimits
from milepost.stores.sqlite.logs import SqliteLogs
from milepost.stores.sqlite.rows import (
    Values,
    commit_values,
    event_of,
    history_values,
    insert_values,
    is_tied,
    lease_of,
    lease_values,
    record_of,
    request_values,
    ties_values,
    write_values,
)
from milepost.stores.sqlite.schedules import SqliteSchedules
from milepost.stores.sqlite.settings import SqliteQueueTable, bounded_queues, is_shut, paused_queues
from milepost.stores.sqlite.statements import statement
from milepost.stores.sqlite.ticker import Ticker
from milepost.stores.sqlite.transaction import SqliteTransaction
from milepost.stores.tables import LogLine

_CANCEL_REQUESTS: Final = statement("cancel_requests")
_CLAIM: Final = statement("claim")
_CLAIM_HISTORY: Final = statement("claim_history")
_CLAIMED: Final = statement("claimed")
_CLOSE_LEASE: Final = statement("close_lease")
_COPY_HISTORY: Final = statement("copy_history")
_COPY_OUT: Final = statement("copy_out")
_DELETE: Final = statement("delete")
_DELETE_HISTORY: Final = statement("delete_history")
_DUE: Final = statement("due")
_FIRST_LANES: Final = statement("first_lanes")
_GET: Final = statement("get")
_HELD: Final = statement("held")
_HISTORY: Final = statement("history")
_HOLDERS: Final = statement("holders")
_INSERT: Final = statement("insert")
_LEASES: Final = statement("leases")
_NEXT_LANE: Final = statement("next_lane")
_NEXT_OWNER: Final = statement("next_owner")
_NOW: Final = statement("now")
_OPEN_LEASE: Final = statement("open_lease")
_OWNED: Final = statement("owned")
_QUEUES: Final = statement("queues")
_RENEW: Final = statement("renew")
_REPORT: Final = statement("report")
_STAMP: Final = statement("stamp")
_WRITE: Final = statement("write")
_WRITE_COMMIT: Final = statement("write_commit")
_WRITE_HISTORY: Final = statement("write_history")
_WRITE_PROGRESS: Final = statement("write_progress")
_WRITE_REQUEST: Final = statement("write_request")
_WRITE_TIES: Final = statement("write_ties")

_ROWS_AT_ONCE: Final = 10

# At which audit levels a claim is told of.
_CLAIM_AUDITS: Final = MappingProxyType(
    {
        kind: json.dumps([audit.value for audit in Audit if is_audited(kind, audit)])
        for kind in (HistoryKind.CLAIMED, HistoryKind.RECLAIMED)
    }
)


class _Lane(NamedTuple):
    """Waiting rows that only due time and arrival tell apart, and when the first of them falls due."""

    name: str
    version: int
    priority: int
    due_at: int


@final
class SqliteSession:
    """One open transaction. It neither begins nor ends it.

    `is_lent` says that the transaction is a caller's own: nobody else will store the time that was given out in it, and
    sqlite3 may begin it only with the first statement that writes.
    """

    def __init__(self, database: Connection, ticker: Ticker, *, is_lent: bool = False) -> None:
        self._database: Connection | None = database
        self._ticker = ticker
        self._is_lent = is_lent
        self._stored: datetime | None = None
        self.newest: datetime | None = None
        self.hints = Hint(0)
        self.transaction: Final = SqliteTransaction(lambda: self.database)

    @property
    def database(self) -> Connection:
        """The connection, until the transaction has ended: a later use would be outside of any."""
        database = self._database
        if database is None:
            raise StoreError("this session's transaction has ended; use a session only inside its function")
        if not self._is_lent and not database.in_transaction:
            # SQLite rolls back by itself, as when the disk is full; what comes after would be committed bit by bit.
            raise StoreError("this transaction was rolled back; nothing more can be done in it")
        return database

    def end(self) -> None:
        """Refuse every later verb."""
        self._database = None

    @property
    def logs(self) -> SqliteLogs:
        return SqliteLogs(lambda: self.database, self._changed)

    @property
    def ends(self) -> SqliteEnds:
        return SqliteEnds(lambda: self.database, self._forget)

    @property
    def joins(self) -> SqliteJoins:
        return SqliteJoins(lambda: self.database, self._changed)

    @property
    def limits(self) -> SqliteLimits:
        return SqliteLimits(self.database, begin=self._changed)

    @property
    def settings(self) -> SqliteQueueTable:
        return SqliteQueueTable(self.database, begin=self._changed, hint=self._hint)

    @property
    def schedules(self) -> SqliteSchedules:
        return SqliteSchedules(self.database, begin=self._changed, hint=self._hint)

    @property
    def events(self) -> SqliteEvents:
        return SqliteEvents(self.database, begin=self._changed)

    def now(self) -> datetime:
        if self._stored is None:
            self._stored = from_micros(self.database.execute(_NOW)[0][0])
        self.newest = self._ticker.at_least(self._stored)
        return self.newest

    def insert(self, records: Iterable[TaskRecord]) -> None:
        tied: list[TaskRecord] = []
        values = map(insert_values, self._hinting(_noting(records, tied)))
        while rows := tuple(islice(values, _ROWS_AT_ONCE)):
            self.database.execute(_insert_of(len(rows)), tuple(chain.from_iterable(rows)))
        if tied:
            self.database.many(_WRITE_TIES, map(ties_values, tied))
        self._changed()

    def insert_unbounded(self, records: Sequence[TaskRecord]) -> bool:
        bounded = bounded_queues(self.database)
        if bounded and any(record.queue in bounded for record in records):
            return False
        self.insert(records)
        return True

    def holders(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], TaskRecord]:
        records = map(record_of, self.database.execute(_HOLDERS, {"keys": json.dumps(keys)})) if keys else ()
        return {(record.name, record.key or ""): record for record in records}

    def claim(self, order: ClaimOrder, *, now: datetime) -> list[TaskRecord]:
        if order.limit <= 0 or not order.names:
            return []
        if is_shut(self.database, order.queue, counted=order.due_max is not None):
            return []
        expired, due = self._claimable(order, to_micros(now))
        numbers = [*expired, *due]
        if not numbers:
            return []
        # The start of every token; SQL adds what makes it the row's own.
        claim = {
            "executor": order.executor,
            "token": token_hex(8),
            "now": to_micros(now),
            "numbers": json.dumps(numbers),
        }
        self.database.execute(_CLAIM, claim)
        self._write_claim_history(HistoryKind.RECLAIMED, expired, now)
        self._write_claim_history(HistoryKind.CLAIMED, due, now)
        self._changed()
        records = [record_of(row) for row in self.database.execute(_CLAIMED, (claim["numbers"],))]
        if any(record.cancel_requested_at is not None for record in records):
            self.hints |= Hint.CANCEL
        return records

    def queues(self, names: Mapping[str, int]) -> list[str]:
        found = [queue for (queue,) in self.database.execute(_QUEUES, {"names": json.dumps(dict(names))})]
        paused = paused_queues(self.database)
        return [queue for queue in found if queue not in paused]

    def next_due(self, names: Mapping[str, int], queues: Sequence[str]) -> datetime | None:
        paused = paused_queues(self.database)
        heads = (lane.due_at for queue in queues if queue not in paused for lane in self._lanes(queue, names))
        earliest = min(heads, default=None)
        return None if earliest is None else from_micros(earliest)

    def write(self, transitions: Sequence[Transition]) -> list[bool]:
        written = self.database.each_changed(map(_statement_of, transitions))
        done = [decided for decided, was_written in zip(transitions, written, strict=True) if was_written]
        deque(self._hinting(decided.after for decided in done), maxlen=0)
        resets = [each.after for each in done if each.resets_progress]
        if resets:
            rows = [(after.progress, after.progress_note, after.id) for after in resets]
            self.database.many(_WRITE_PROGRESS, rows)
        edits = [each.after for each in done if each.rewrites_request]
        if edits:
            self.database.many(_WRITE_REQUEST, map(request_values, edits))
        tied = [each.after for each in done if each.rewrites_ties]
        if tied:
            self.database.many(_WRITE_TIES, map(ties_values, tied))
        self._write_history([line for decided in done for line in history_values(decided.after, decided.history)])
        return written

    def report(self, reports: Sequence[Report]) -> None:
        self.database.many(_REPORT, [(report.fraction, report.note, report.id, report.token) for report in reports])

    def get(self, ids: Sequence[TaskId]) -> list[TaskRecord]:
        records = {row[1]: record_of(row) for row in self.database.execute(_GET, (json.dumps(ids),))} if ids else {}
        return [records[id] for id in ids if id in records]

    def search(self, wanted: TaskFilter, *, limit: int) -> list[TaskRecord]:
        return [record_of(row) for row in self.database.execute(*search_of(wanted, limit))]

    def count(self, wanted: TaskFilter) -> int:
        ((found,),) = self.database.execute(*count_of(wanted))
        return int(found)

    def ids(self, wanted: TaskFilter) -> list[TaskId]:
        return [TaskId(id) for (id,) in self.database.execute(*ids_of(wanted))]

    def history(self, id: TaskId) -> list[HistoryEvent]:
        rows = self.database.execute(_GET, (json.dumps([id]),))
        if not rows:
            return []
        stored = self.database.execute(_HISTORY, (id,))
        return [*enqueued_history(record_of(rows[0])), *map(event_of, stored)]

    def delete(self, ids: Sequence[TaskId]) -> int:
        deleted = [id for (id,) in self.database.execute(_DELETE, (json.dumps(ids),))]
        if deleted:
            self._forget(deleted)
        return len(deleted)

    def copy_out(self, after: int, *, limit: int) -> list[TaskCopy]:
        rows = self.database.execute(_COPY_OUT, (after, max(0, limit)))
        histories: defaultdict[TaskId, list[HistoryEvent]] = defaultdict(list)
        for id, *line in self.database.execute(_COPY_HISTORY, (json.dumps([row[1] for row in rows]),)):
            histories[id].append(event_of(tuple(line)))
        logs: defaultdict[TaskId, list[LogLine]] = defaultdict(list)
        for logged in self.logs.of_all([row[1] for row in rows]):
            logs[logged.task].append(logged)
        children = self.joins.children([row[1] for row in rows])
        return [
            TaskCopy(
                row[0],
                record := record_of(row),
                tuple(histories[record.id]),
                tuple(logs[record.id]),
                tuple(children.get(record.id, ())),
            )
            for row in rows
        ]

    def copy_in(self, copies: Sequence[TaskCopy]) -> None:
        self.insert(copy.record for copy in copies)
        # All under the revision that the record has: the next write of the task goes on behind it.
        self._write_history([line for copy in copies for line in history_values(copy.record, copy.history)])
        self.logs.restore(line for copy in copies for line in copy.logs)
        self.joins.restore((copy.record.id, copy.children) for copy in copies)

    def open_lease(self, lease: Lease) -> None:
        self.database.execute(_OPEN_LEASE, lease_values(lease))
        self._changed()

    def renew(self, executor: str, *, now: datetime, lease_until: datetime, running: int) -> bool:
        renewed = self.database.execute(_RENEW, (to_micros(now), to_micros(lease_until), running, executor))
        self._changed()
        return bool(renewed)

    def close_lease(self, executor: str) -> None:
        self.database.execute(_CLOSE_LEASE, (executor,))
        self._changed()

    def leases(self) -> list[Lease]:
        return [lease_of(row) for row in self.database.execute(_LEASES)]

    def held(self, executor: str) -> list[Held]:
        return [_held(*row) for row in self.database.execute(_HELD, (executor,))]

    def cancel_requests(self, executor: str) -> list[Held]:
        return [_held(*row) for row in self.database.execute(_CANCEL_REQUESTS, (executor,))]

    def _forget(self, deleted: Sequence[TaskId]) -> None:
        """What goes with tasks that were deleted."""
        self.database.execute(_DELETE_HISTORY, (json.dumps(deleted),))
        self.logs.forget(deleted)
        self.joins.forget(deleted)
        self.hints |= Hint.FINAL
        self._changed()

    def _claimable(self, order: ClaimOrder, now: int) -> tuple[list[int], list[int]]:
        due = self._due(order, now)
        if order.limit == 1 and due:
            return [], due
        expired = self._expired(order, now, (order.limit + 1) // 2)
        return expired, due[: order.limit - len(expired)]

    def _due(self, order: ClaimOrder, now: int) -> list[int]:
        """The numbers of what is due, best first; of lanes of one priority, each gives at most the limit."""
        lanes = [lane for lane in self._lanes(order.queue, order.names) if lane.due_at <= now]
        lanes.sort(key=lambda lane: -lane.priority)
        due: list[int] = []
        for _, same_priority in groupby(lanes, key=lambda lane: lane.priority):
            left = order.fresh_limit - len(due)
            if left <= 0:
                break
            candidates = [
                self.database.execute(_DUE, (order.queue, lane.name, lane.version, lane.priority, now, left))
                for lane in same_priority
            ]
            due += [number for _, number in islice(merge(*candidates), left)]
        return due

    def _lanes(self, queue: str, names: Mapping[str, int]) -> Iterator[_Lane]:
        """Every lane of `queue` in which something that could be claimed waits."""
        heads = self.database.execute(_FIRST_LANES, {"queue": queue, "names": json.dumps(dict(names))})
        for *head, known in heads:
            lane = _Lane(*head)
            while True:
                yield lane
                after = self.database.execute(_NEXT_LANE, {"queue": queue, "known": known, **lane._asdict()})
                if not after:
                    break
                lane = _Lane(*after[0])

    def _expired(self, order: ClaimOrder, now: int, limit: int) -> list[int]:
        """The numbers of what is owned by executors without a valid lease, in order of arrival."""
        wanted = {"queue": order.queue, "names": json.dumps(dict(order.names)), "limit": limit}
        expired: list[int] = []
        owner = ""
        while following := self.database.execute(_NEXT_OWNER, (owner,)):
            ((owner, lease_until),) = following
            if lease_until is None or lease_until < now:
                expired += [number for (number,) in self.database.execute(_OWNED, {**wanted, "owner": owner})]
        return sorted(expired)[:limit]

    def _hinting(self, records: Iterable[TaskRecord]) -> Iterator[TaskRecord]:
        """The same records; once they are used up, the hints say what of them may interest others."""
        # Records of one turn differ in little: asking once for each kind is cheaper than once for each record.
        kinds: dict[object, TaskRecord] = {}
        for record in records:
            kinds[_state(record), record.due_at is None, record.cancel_requested_at is None] = record
            yield record
        for record in kinds.values():
            self.hints |= hints_of(record)

    def _write_claim_history(self, kind: HistoryKind, numbers: Sequence[int], now: datetime) -> None:
        if numbers:
            line = {
                "kind": kind.value,
                "now": to_micros(now),
                "numbers": json.dumps(numbers),
                "audits": _CLAIM_AUDITS[kind],
            }
            self.database.execute(_CLAIM_HISTORY, line)

    def _write_history(self, lines: Iterable[Values]) -> None:
        self.database.many(_WRITE_HISTORY, lines)
        self._changed()

    def _hint(self, hints: Hint) -> None:
        self.hints |= hints

    def _changed(self) -> None:
        if self._is_lent:
            stamp(self.database, self.newest)


def stamp(database: Connection, newest: datetime | None) -> None:
    """Store that a transaction of milepost's is about to commit, and the newest time that it gave out."""
    database.execute(_STAMP, (0 if newest is None else to_micros(newest),))


@cache
def _insert_of(rows: int) -> str:
    """The statement that inserts so many rows; to step through each row on its own takes a third longer."""
    head, row = _INSERT.split("values")
    return f"{head}values {', '.join([row] * rows)}"


_state: Final = attrgetter("state._value_")


def _noting(records: Iterable[TaskRecord], tied: list[TaskRecord]) -> Iterator[TaskRecord]:
    """The same records; those that are tied to others are added to `tied` as they pass."""
    for record in records:
        if is_tied(record):
            tied.append(record)
        yield record


def _statement_of(decided: Transition) -> tuple[str, Values]:
    # Most writes of long tasks are commits, and one that touches no indexed column takes half the time.
    return (_WRITE_COMMIT, commit_values(decided)) if decided.is_commit else (_WRITE, write_values(decided))


def _held(id: str, fence: int, token: str | None, cancel_reason: str | None) -> Held:
    return Held(TaskId(id), fence, token or "", cancel_reason)
