"""The verbs of the store on one open PostgreSQL transaction. The SQL is in `queries`; decisions come from outside.

**Locks.** One call locks rows of tasks in the order of their ids, whichever verb it is, so that calls wait for each
other but never in a circle; a claim waits for nobody. Keys come before rows (`holders`). A transaction of several calls
may still meet another one crosswise: PostgreSQL ends one of the two, and the store runs that one again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from secrets import token_hex
from typing import Any, Final, TypeAlias, cast, final
from zlib import crc32

import psycopg
from psycopg.rows import tuple_row
from psycopg.types.string import TextBinaryLoader, TextLoader

from milepost.errors import StoreError
from milepost.lifecycle.change import Transition, enqueued_history, is_audited
from milepost.lifecycle.record import Audit, HistoryEvent, HistoryKind, TaskId, TaskRecord
from milepost.stores.filter import TaskFilter
from milepost.stores.postgres.arrays import numbers, texts
from milepost.stores.postgres.bounded import bounded_rows
from milepost.stores.postgres.ends import PostgresEnds
from milepost.stores.postgres.events import PostgresEvents
from milepost.stores.postgres.faults import translated
from milepost.stores.postgres.filters import count_of, ids_of, search_of
from milepost.stores.postgres.hints import channel_of, payload_of
from milepost.stores.postgres.joins import PostgresJoins
from milepost.stores.postgres.limits import PostgresLimits
from milepost.stores.postgres.logs import PostgresLogs
from milepost.stores.postgres.rows import (
    FRESH,
    WHOLE,
    are_fresh,
    event_of,
    fresh_arrays,
    fresh_values,
    lease_of,
    lease_values,
    record_of,
    whole_values,
)
from milepost.stores.postgres.schedules import PostgresSchedules
from milepost.stores.postgres.settings import PostgresQueueTable
from milepost.stores.postgres.statements import formed, statements
from milepost.stores.postgres.transaction import PostgresTransaction
from milepost.stores.postgres.writes import (
    HistoryLine,
    Numbered,
    ends,
    further_lines,
    history_arrays,
    history_lines,
    request_arrays,
    settle_arrays,
    ties_arrays,
    waves,
    write_arrays,
)
from milepost.stores.protocol import ClaimOrder, Held, Hint, Lease, Report, TaskCopy, hints_of

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"
Row: TypeAlias = tuple[Any, ...]

# How much is held in memory and sent at a time. A parameter of a statement has a gigabyte at most.
_CHUNK_ROWS: Final = 2_000
_CHUNK_CHARACTERS: Final = 1 << 24
_COPY_ROWS_MIN: Final = 1_000
_KEY_LOCKS: Final = 1_024

# At which audit levels a claim is told of. Both kinds of claim are told at the same.
_CLAIM_AUDITS: Final = texts([audit.value for audit in Audit if is_audited(HistoryKind.CLAIMED, audit)])
_state: Final = attrgetter("state._value_")


@final
class PostgresSession:
    """One open transaction. It neither begins nor ends it.

    `now` is the server's time as it was fetched with BEGIN; without it, the session asks. `is_lent` says that the
    transaction is a caller's own: nobody else will notify the others of what was done in it. `reads_only` says that
    nothing will be written, so nothing need be locked.
    """

    def __init__(
        self,
        connection: Connection,
        schema: str,
        *,
        is_lent: bool = False,
        now: datetime | None = None,
        reads_only: bool = False,
    ) -> None:
        self._connection: Connection | None = connection
        self._cursor = _cursor(connection)
        self._schema = schema
        self._statements = statements(schema)
        self._is_lent = is_lent
        self._now = now
        self._reads_only = reads_only
        self._copied: int | None = None
        self.hints = Hint(0)
        self.transaction: Final = PostgresTransaction(lambda: self.connection)

    @property
    def connection(self) -> Connection:
        """The connection, until the transaction has ended: a later use would be outside of any."""
        if self._connection is None:
            raise StoreError("this session's transaction has ended; use a session only inside its function")
        return self._connection

    def end(self) -> None:
        """Refuse every later verb."""
        self._connection = None

    @property
    def logs(self) -> PostgresLogs:
        return PostgresLogs(self._query)

    @property
    def ends(self) -> PostgresEnds:
        return PostgresEnds(self._query, self._schema, lambda: self._hint(Hint.FINAL))

    @property
    def joins(self) -> PostgresJoins:
        return PostgresJoins(self._query)

    @property
    def limits(self) -> PostgresLimits:
        return PostgresLimits(self._query, self._schema, reads_only=self._reads_only)

    @property
    def settings(self) -> PostgresQueueTable:
        return PostgresQueueTable(self._query, self._schema, hint=self._hint)

    @property
    def schedules(self) -> PostgresSchedules:
        return PostgresSchedules(self._query, hint=self._hint)

    @property
    def events(self) -> PostgresEvents:
        return PostgresEvents(self._query, self._schema, reads_only=self._reads_only)

    def now(self) -> datetime:
        if self._now is None:
            self._now = self._query("now")[0][0]
        return self._now

    def insert(self, records: Iterable[TaskRecord]) -> None:
        hints = Hint(0)
        for chunk in _chunks(records):
            self._insert(chunk)
            hints |= _hints_of(chunk)
        self._hint(hints)

    def insert_unbounded(self, records: Sequence[TaskRecord]) -> bool:
        if not records:
            return True
        if len(records) < _COPY_ROWS_MIN and are_fresh(records):
            if self._query("insert", *fresh_arrays(records), True):
                return False
            self._hint(_hints_of(records))
            return True
        if self._query("bounded_queues", texts([*{record.queue for record in records}])):
            return False
        self.insert(records)
        return True

    def holders(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], TaskRecord]:
        if not keys:
            return {}
        wanted = sorted(set(keys))
        # A key that is free has no row to lock, so whoever asks for it, to take it, locks the key itself until its
        # transaction ends. A statement of its own: the next one sees what was committed while this one waited.
        if not self._reads_only:
            self._query("lock_keys", _lock_of(self._schema), numbers(sorted(set(map(_key_lock, wanted)))))
        columns = [texts(column) for column in zip(*wanted, strict=True)]
        records = map(record_of, self._query("holders", *columns))
        return {(record.name, record.key or ""): record for record in records}

    def claim(self, order: ClaimOrder, *, now: datetime) -> list[TaskRecord]:
        if order.limit <= 0 or not order.names:
            return []
        rows = self._query(
            "claim",
            order.executor,
            order.queue,
            now,
            order.limit,
            (order.limit + 1) // 2,
            *_wanted(order.names),
            token_hex(8),  # the start of every token; SQL adds what makes it the row's own
            _CLAIM_AUDITS,
            order.due_max,
        )
        records = [record_of(row) for row in rows]
        if any(record.cancel_requested_at is not None for record in records):
            self._hint(Hint.CANCEL)
        return records

    def queues(self, names: Mapping[str, int]) -> list[str]:
        return [queue for (queue,) in self._query("queues", *_wanted(names))]

    def next_due(self, names: Mapping[str, int], queues: Sequence[str]) -> datetime | None:
        ((earliest,),) = self._query("next_due", *_wanted(names), texts(queues))
        return cast("datetime | None", earliest)

    def write(self, transitions: Sequence[Transition]) -> list[bool]:
        answers = [False] * len(transitions)
        for wave in waves(transitions):
            name, arrays = ("settle", settle_arrays(wave)) if ends(wave) else ("write", write_arrays(wave))
            written: list[Numbered] = [wave[place - 1] for (place,) in self._query(name, *arrays)]
            for number, _ in written:
                answers[number] = True
            self._write_history(further_lines(decided for _, decided in written))
            edited = [decided.after for _, decided in written if decided.rewrites_request]
            if edited:
                self._query("write_request", *request_arrays(edited))
            tied = [decided.after for _, decided in written if decided.rewrites_ties]
            if tied:
                self._query("write_ties", *ties_arrays(tied))
        self._hint(_hints_of(decided.after for decided, done in zip(transitions, answers, strict=True) if done))
        return answers

    def report(self, reports: Sequence[Report]) -> None:
        latest = {(report.id, report.token): (report.fraction, report.note) for report in reports}
        if latest:
            rows = [(*whose, *progress) for whose, progress in sorted(latest.items())]
            ids, tokens, fractions, notes = zip(*rows, strict=True)
            self._query("report", texts(ids), texts(tokens), numbers(fractions), texts(notes))

    def get(self, ids: Sequence[TaskId]) -> list[TaskRecord]:
        if not ids:
            return []
        rows = self._query("get" if self._reads_only else "get_locked", texts(ids))
        records = {record.id: record for record in map(record_of, rows)}
        return [records[id] for id in ids if id in records]

    def search(self, wanted: TaskFilter, *, limit: int) -> list[TaskRecord]:
        return [record_of(row) for row in self._find(wanted, *search_of(wanted, limit))]

    def count(self, wanted: TaskFilter) -> int:
        ((found,),) = self._find(wanted, *count_of(wanted))
        return int(found)

    def ids(self, wanted: TaskFilter) -> list[TaskId]:
        return [TaskId(id) for (id,) in self._find(wanted, *ids_of(wanted))]

    def history(self, id: TaskId) -> list[HistoryEvent]:
        found = self._query("get", texts([id]))
        if not found:
            return []
        return [*enqueued_history(record_of(found[0])), *map(event_of, self._query("history", id))]

    def delete(self, ids: Sequence[TaskId]) -> int:
        ((deleted,),) = self._query("delete", texts(ids))
        if deleted:
            self._hint(Hint.FINAL)
        return int(deleted)

    def copy_out(self, after: int, *, limit: int) -> list[TaskCopy]:
        rows = self._page(after, limit)
        histories: defaultdict[int, list[HistoryEvent]] = defaultdict(list)
        for number, *line in self._query("copy_history", numbers([row[-1] for row in rows])):
            histories[number].append(event_of(tuple(line)))
        logs = self.logs.of_all({row[-1]: TaskId(row[0]) for row in rows})
        children = self.joins.children([TaskId(row[0]) for row in rows])
        return [
            TaskCopy(
                number := row[-1],
                record_of(row),
                tuple(histories[number]),
                tuple(logs.get(number, ())),
                tuple(children.get(row[0], ())),
            )
            for row in rows
        ]

    def copy_in(self, copies: Sequence[TaskCopy]) -> None:
        self.insert(copy.record for copy in copies)
        # All under the revision that the record has: the next write of the task goes on behind it.
        self._write_history([line for copy in copies for line in history_lines(copy.record, copy.history)])
        self.logs.restore([line for copy in copies for line in copy.logs])
        self.joins.restore([(copy.record.id, copy.children) for copy in copies])

    def open_lease(self, lease: Lease) -> None:
        self._query("open_lease", *lease_values(lease))

    def renew(self, executor: str, *, now: datetime, lease_until: datetime, running: int) -> bool:
        return bool(self._query("renew", now, lease_until, running, executor))

    def close_lease(self, executor: str) -> None:
        self._query("close_lease", executor)

    def leases(self) -> list[Lease]:
        return [lease_of(row) for row in self._query("leases")]

    def held(self, executor: str) -> list[Held]:
        return [_held(*row) for row in self._query("held", executor)]

    def cancel_requests(self, executor: str) -> list[Held]:
        return [_held(*row) for row in self._query("cancel_requests", executor)]

    def _insert(self, records: Sequence[TaskRecord]) -> None:
        fresh = are_fresh(records)
        if fresh and len(records) < _COPY_ROWS_MIN:
            self._query("insert", *fresh_arrays(records), False)
            return
        columns, values_of = (FRESH, fresh_values) if fresh else (WHOLE, whole_values)
        copy_in = formed(f"copy {{schema}}.milepost_task ({', '.join(columns)}) from stdin", self._schema)
        self._check_open()
        with translated(), self._cursor.copy(copy_in) as copy:
            for record in records:
                copy.write_row(values_of(record))

    def _write_history(self, lines: Sequence[HistoryLine]) -> None:
        if lines:
            self._query("write_history", *history_arrays(lines))

    def _page(self, after: int, limit: int) -> list[Row]:
        """The rows of `copy_out.sql`. Numbers have no index, for each claim and each end of a task would pay for it; so
        all are sorted once, and a reading transaction that goes on where it left off goes on with that."""
        if limit <= 0:
            return []
        if not self._reads_only:
            return self._query("copy_out", after, limit)
        if self._copied != after:
            if self._copied is not None:
                self._run(b"close milepost_copy", ())
            declare = b"declare milepost_copy no scroll cursor for " + self._statements["copy_out"]
            self._run(declare, (after, None))
        rows = self._run(b"fetch forward %d from milepost_copy" % limit, ())
        self._copied = rows[-1][-1] if rows else after
        return rows

    def _query(self, name: str, *parameters: object) -> list[Row]:
        return self._run(self._statements[name], parameters)

    def _find(self, wanted: TaskFilter, sql: str, parameters: Sequence[object]) -> list[Row]:
        # A plan that is kept knows no values, so it takes what a payload must contain for something that one row in a
        # hundred has, and rather walks by age than through an index that would give the one row.
        prepare = False if wanted.reads_payloads else None
        return self._run(formed(sql, self._schema), parameters, prepare=prepare)

    def _run(self, sql: bytes, parameters: Sequence[object], *, prepare: bool | None = None) -> list[Row]:
        self._check_open()
        cursor = self._cursor
        with translated():
            cursor.execute(sql, parameters, prepare=prepare, binary=True)
            rows = [] if cursor.rownumber is None else _fetched(cursor)  # `description` costs more than both
        return [*map(_in_utc, rows)] if self._is_lent else rows

    def _check_open(self) -> None:
        _ = self.connection

    def _hint(self, hints: Hint) -> None:
        news = hints & ~self.hints
        self.hints |= hints
        if news and self._is_lent:
            self._run(b"select pg_notify($1, $2)", (channel_of(self._schema), payload_of(news)))


def _cursor(connection: Connection) -> psycopg.RawCursor[Row]:
    cursor = psycopg.RawCursor(connection, row_factory=tuple_row)
    # psycopg would read JSON into values; records keep the text.
    for loader in (TextLoader, TextBinaryLoader):
        cursor.adapters.register_loader("json", loader)
    return cursor


def _fetched(cursor: psycopg.RawCursor[Row]) -> list[Row]:
    try:
        return cursor.fetchall()
    except psycopg.DataError:  # what the server has sent, Python cannot hold
        return bounded_rows(cursor)


def _in_utc(row: Row) -> Row:
    return tuple(value.astimezone(UTC) if isinstance(value, datetime) else value for value in row)


def _wanted(names: Mapping[str, int]) -> tuple[str, str]:
    return texts([*names]), numbers([*names.values()])


def _chunks(records: Iterable[TaskRecord]) -> Iterator[list[TaskRecord]]:
    chunk: list[TaskRecord] = []
    characters = 0
    for record in records:
        chunk.append(record)
        characters += len(record.metadata_json) + 2 * len(record.execution_metadata_json)
        if len(chunk) == _CHUNK_ROWS or characters > _CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _hints_of(records: Iterable[TaskRecord]) -> Hint:
    """What of these may interest others."""
    # Records of one call differ in little: asking once for each kind is cheaper than once for each record.
    kinds = {(_state(each), each.due_at is None, each.cancel_requested_at is None): each for each in records}
    hints = Hint(0)
    for record in kinds.values():
        hints |= hints_of(record)
    return hints


def _lock_of(schema: str) -> int:
    """The schema's half of an advisory lock, as the signed integer that PostgreSQL takes."""
    return crc32(f"milepost keys of {schema}".encode()) - (1 << 31)


def _key_lock(key: tuple[str, str]) -> int:
    """A key's half. One lock serves many keys: a server has room for some thousands, and a call may have more keys."""
    return crc32("\0".join(key).encode(errors="surrogatepass")) % _KEY_LOCKS


def _held(id: str, fence: int, token: str | None, cancel_reason: str | None) -> Held:
    return Held(TaskId(id), fence, token or "", cancel_reason)
