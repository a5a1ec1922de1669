"""PostgreSQL with millions of rows: a claim's time and plan among them, and its time while a million tasks pass."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import psycopg
from attrs import frozen

from milepost.ids import new_id
from milepost.lifecycle.change import Transition
from milepost.lifecycle.events import Succeeded
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.transition import transition
from milepost.payload import JsonText
from milepost.stores.open import connect_store
from milepost.stores.protocol import ClaimOrder, Lease, Session, Store

T = TypeVar("T")

PAST = datetime(2026, 1, 1, tzinfo=UTC)
CLAIMED = 100
ORDER = ClaimOrder("bench", "default", {"t": 1}, CLAIMED)
ROWS_AT_A_TIME = 500_000
_COMPARED_EVERY = 5
_ROUNDS_TO_PREPARE = 6  # psycopg prepares a statement when it has seen it five times

# What the verbs would have written, by the server itself: waiting, suspended without a wake-up, and completed tasks.
# Ids have the form of milepost's own and, as those do, sort by time of creation.
_ROWS = """
insert into milepost.milepost_task (
  id, name, version, queue, priority, audit, created_at, due_at, started_at, finished_at, fence, revision, state, token,
  metadata_json, execution_metadata_json, initial_execution_metadata_json, result_json
)
select
  format('0197%%s-%%s-7000-8000-%%s', lpad(to_hex(n >> 16), 4, '0'), lpad(to_hex(n & 65535), 4, '0'),
    substr(md5(n::text), 1, 12)),
  't', 1, 'default', 0, 'transitions', timestamptz '2026-01-01' + n * interval '1 ms',
  case when %(state)s = 'pending' then timestamptz '2026-01-01' + n * interval '1 ms' end,
  case when %(state)s <> 'pending' then timestamptz '2026-02-01' end,
  case when %(state)s = 'completed' then timestamptz '2026-02-01' end,
  case when %(state)s = 'pending' then 0 else 1 end, case when %(state)s = 'pending' then 0 else 2 end,
  %(state)s, case when %(state)s <> 'pending' then md5(n::text) end,
  json_build_object('n', n), '{"row":0}', '{"row":0}',
  case when %(state)s = 'completed' then json_build_object('n', n) end
from generate_series(%(first)s::bigint, %(last)s::bigint) as n
"""
_LINES = """
insert into milepost.milepost_history (task, at, revision, ordinal, attempt, kind, state, executor, reason)
select task.number, task.finished_at, line.revision, 0, 1, line.kind, line.state, 'bench', ''
from milepost.milepost_task as task
cross join (values (1, 'claimed', 'running'), (2, 'succeeded', 'completed')) as line (revision, kind, state)
where task.state = 'completed'
"""


@frozen
class Sizes:
    """How many rows of each kind."""

    waiting: int
    suspended: int
    final: int


def fill(url: str, sizes: Sizes) -> float:
    """Make a store with so many rows, with the history of the final ones, and statistics; the seconds it took."""
    begin = time.perf_counter()
    connect_store(url).close()
    with psycopg.connect(url, autocommit=True) as connection:
        first = 0
        kinds = (("completed", sizes.final), ("suspended", sizes.suspended), ("pending", sizes.waiting))
        for state, count in kinds:
            for start in range(first, first + count, ROWS_AT_A_TIME):
                last = min(start + ROWS_AT_A_TIME, first + count) - 1
                connection.execute(_ROWS, {"state": state, "first": start, "last": last})
            first += count
        connection.execute(_LINES)
        connection.execute("analyze milepost.milepost_task, milepost.milepost_history")
    return time.perf_counter() - begin


class Claims:
    """A store whose claims are timed, and what they took is made up for.

    They are not rolled back: psycopg forgets what it has prepared then, and planning would be most of what is timed.
    """

    def __init__(self, url: str) -> None:
        self._store = connect_store(url)
        self._store.transact_blocking(lambda session: _announce(session))

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def seconds(self) -> float:
        """How long one claim of 100 takes inside its transaction."""
        taken: list[float] = []

        def claim(session: Session) -> None:
            now = session.now()
            begin = time.perf_counter()
            claimed = session.claim(ORDER, now=now)
            taken.append(time.perf_counter() - begin)
            if len(claimed) != CLAIMED:
                raise AssertionError(f"claimed {len(claimed)} of {CLAIMED}")
            session.insert(_fresh(CLAIMED, now))

        self._store.transact_blocking(claim)
        return taken[-1]

    def plan(self) -> str:
        """EXPLAIN (ANALYZE, BUFFERS) of the claim, with the plan that the prepared statement of a claim really has."""
        said: list[str] = []

        def explain(session: Session) -> None:
            session.claim(ORDER, now=session.now())
            found = session.transaction.execute(
                "select name from pg_prepared_statements where statement like '%milepost_task%'"
                " and statement like '%skip locked%' order by prepare_time desc limit 1"
            )
            if not found:
                raise AssertionError("the claim is not prepared; time some claims first")
            # The parameters of `claim.sql`, in its order.
            values = (
                f"'{ORDER.executor}', '{ORDER.queue}', clock_timestamp(), {CLAIMED}, {(CLAIMED + 1) // 2},"
                " '{t}', '{1}', 'explained', '{transitions,full}', null"
            )
            # Written out because EXECUTE takes no parameters from outside.
            rows = session.transaction.execute(f'explain (analyze, buffers) execute "{found[0][0]}" ({values})')
            said[:] = [line for (line,) in rows]

        self._store.transact_blocking(explain)
        return "\n".join(said)


def compare(small_url: str, large_url: str, *, rounds: int) -> tuple[float, float, str]:
    """The median seconds of a claim in either store, taken in turn, and the plan in the large one."""
    with closing(Claims(small_url)) as small, closing(Claims(large_url)) as large:
        for _ in range(10):  # until both are prepared and their pages are in memory
            small.seconds()
            large.seconds()
        pairs = [(small.seconds(), large.seconds()) for _ in range(rounds)]
        plan = large.plan()
    few, many = zip(*pairs, strict=True)
    return statistics.median(few), statistics.median(many), plan


@frozen
class Churn:
    """Tasks completed per second; then, for each part of the run, the median milliseconds of a claim in the store that
    has seen it all, and in a fresh one that took turns with it; and how often autovacuum has been there."""

    rate: float
    claim_ms: list[float]
    fresh_ms: list[float]
    vacuums: int

    @property
    def ratios(self) -> list[float]:
        """By how much a claim takes longer than in a fresh store, in each part."""
        return [old / new for old, new in zip(self.claim_ms, self.fresh_ms, strict=True)]


def churn(fresh: Callable[[], str], total: int, *, waiting: int, batch: int, parts: int) -> Churn:
    """Let `total` tasks pass: enqueue, claim and complete `batch` in turn, over a backlog of `waiting`.

    The machine's speed drifts over so long a run; so every few rounds one is done in a store that is new in each part.
    """
    url = fresh()
    order = ClaimOrder(ORDER.executor, ORDER.queue, ORDER.names, batch)
    claims: list[float] = []
    news: list[float] = []
    seconds = 0.0
    size = max(_COMPARED_EVERY, total // batch // parts)
    with closing(_with_backlog(url, waiting)) as old:
        for _ in range(parts):
            with closing(_with_backlog(fresh(), waiting)) as new:
                for _ in range(_ROUNDS_TO_PREPARE):
                    _round(new, order)
                rounds = [_pair(old, new, order, number) for number in range(size)]
            claims.append(statistics.median(claim for (claim, _), _ in rounds) * 1e3)
            news.append(statistics.median(claim for _, claim in rounds if claim is not None) * 1e3)
            seconds += sum(whole for (_, whole), _ in rounds)
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "select autovacuum_count from pg_stat_user_tables where relname = 'milepost_task'"
        ).fetchone()
    return Churn(size * parts * batch / seconds, claims, news, row[0] if row else 0)


def _with_backlog(url: str, waiting: int) -> Store:
    store = connect_store(url)
    store.transact_blocking(_announce)
    store.transact_blocking(lambda session: session.insert(_fresh(waiting, session.now())))
    return store


def _pair(old: Store, new: Store, order: ClaimOrder, number: int) -> tuple[tuple[float, float], float | None]:
    """A round in the old store, and the seconds of the claim of one in the new store every few rounds."""
    return _round(old, order), _round(new, order)[0] if number % _COMPARED_EVERY == 0 else None


def _round(store: Store, order: ClaimOrder) -> tuple[float, float]:
    """The seconds of the claim alone, and of the three transactions together."""
    begin = time.perf_counter()
    store.transact_blocking(lambda session: session.insert(_fresh(order.limit, session.now())))
    claiming, records = _timed(store, lambda session: session.claim(order, now=session.now()))
    if len(records) != order.limit:
        raise AssertionError(f"claimed {len(records)} of {order.limit}")
    if not all(store.transact_blocking(lambda session: session.write(_ends(records, session.now())))):
        raise AssertionError("a completion was refused")
    return claiming, time.perf_counter() - begin


def _timed(store: Store, function: Callable[[Session], T]) -> tuple[float, T]:
    def timed(session: Session) -> tuple[float, T]:
        session.now()
        begin = time.perf_counter()
        value = function(session)
        return time.perf_counter() - begin, value

    return store.transact_blocking(timed)


def _ends(records: list[TaskRecord], now: datetime) -> list[Transition]:
    decided: list[Any] = [transition(record, Succeeded(JsonText('{"n":1}')), now=now) for record in records]
    return decided


def _fresh(count: int, now: datetime) -> list[TaskRecord]:
    return [TaskRecord(id=TaskId(new_id()), name="t", created_at=now, due_at=now) for _ in range(count)]


def _announce(session: Session) -> None:
    now = session.now()
    until = now + timedelta(days=1)
    session.open_lease(Lease("bench", "h", 1, now, now, until, slots=100, running=0, tasks={"t": 1}, queues=None))
