"""The PostgreSQL store keeps every promise of a store, and its statements keep theirs beside others'."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, final

import attrs
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from returns.result import Failure, Success

from milepost.errors import StoreError
from milepost.lifecycle import events
from milepost.lifecycle.change import Transition
from milepost.lifecycle.draft import Draft, OnConflict
from milepost.lifecycle.events import Event
from milepost.lifecycle.record import Audit, HistoryEvent, HistoryKind, TaskId, TaskRecord
from milepost.lifecycle.refusals import CancelAccepted, KeyTaken
from milepost.lifecycle.states import TaskState
from milepost.lifecycle.ties import Join
from milepost.payload import JsonText
from milepost.stores import operations
from milepost.stores.enqueueing import Enqueued
from milepost.stores.filter import TaskFilter
from milepost.stores.open import connect_store, open_store
from milepost.stores.postgres.hints import channel_of
from milepost.stores.postgres.session import PostgresSession
from milepost.stores.postgres.statements import PLANNING, statements
from milepost.stores.protocol import ClaimOrder, Report, Store
from milepost.stores.tables import EndedTask, LogLine
from milepost.testing import StoreCheck, store_checks
from milepost.testing.conformance.kit import HOUR, NOW, decided, numbers, sample, sample_lease, samples, task_id

pytestmark = pytest.mark.anyio

T = TypeVar("T")

SCHEMA = 'Its "own"'
ORDER = ClaimOrder("ada", "default", {"send": 1}, 100)
BOB = attrs.evolve(ORDER, executor="bob")
DONE = events.Succeeded(JsonText("1"))
HUNG_SECONDS = 20


@pytest.mark.parametrize("check", store_checks(), ids=lambda check: check.name)
async def test_the_postgres_store_keeps_the_promise(check: StoreCheck, each_postgres_url: str) -> None:
    opened = 0

    @asynccontextmanager
    async def fresh() -> AsyncGenerator[Store]:
        nonlocal opened
        opened += 1
        async with open_store(in_schema(each_postgres_url, f"fresh_{opened}")) as store:
            yield store

    await check.run(fresh)


def in_schema(url: str, schema: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}milepost_schema={schema}"


@final
class Place:
    """A migrated schema, and sessions on connections of their own, each in a transaction until it is ended."""

    def __init__(self, url: str, closing: ExitStack) -> None:
        connect_store(in_schema(url, 'Its%20"own"')).close()
        settings = " ".join(f"-c {name}={value}" for name, value in PLANNING.items())
        self._conninfo = make_conninfo(url, options=f"-c TimeZone=UTC {settings}")
        self._closing = closing
        self.watcher = psycopg.connect(url, autocommit=True)
        closing.enter_context(self.watcher)
        with self.committed() as session:
            for executor in ("ada", "bob", "cid"):
                session.open_lease(sample_lease(executor))

    def session(self, **settings: Any) -> PostgresSession:
        connection = psycopg.connect(self._conninfo)
        self._closing.callback(connection.close)
        return PostgresSession(connection, SCHEMA, now=NOW, **settings)

    def insert(self, *records: TaskRecord) -> None:
        with self.committed() as session:
            session.insert(records)

    @contextmanager
    def committed(self) -> Generator[PostgresSession]:
        session = self.session()
        yield session
        session.connection.commit()

    def claimed(self, *ids: int, **changes: Any) -> list[TaskRecord]:
        """Tasks that ada runs."""
        self.insert(*samples(*ids, **changes))
        with self.committed() as session:
            return session.claim(ORDER, now=NOW)

    def get(self, *ids: int) -> list[TaskRecord]:
        return self.session(reads_only=True).get([task_id(n) for n in ids])

    def blocked(self, session: PostgresSession, function: Callable[[PostgresSession], T]) -> Callable[[], T]:
        """Start what has to wait for another session, and give back how to wait for its answer."""
        answers: list[T] = []
        thread = threading.Thread(target=lambda: answers.append(function(session)))
        thread.start()
        pid = session.connection.info.backend_pid
        while thread.is_alive():
            found = self.watcher.execute("select cardinality(pg_blocking_pids(%s))", [pid]).fetchone()
            if found and found[0]:
                break
        else:
            raise AssertionError(f"nothing was waited for, the answer is {answers}")

        def answer() -> T:
            thread.join(HUNG_SECONDS)
            return answers[0]

        return answer


@pytest.fixture
def place(postgres_url: str) -> Generator[Place]:
    with ExitStack() as closing:
        yield Place(postgres_url, closing)


@pytest.fixture
def each_place(each_postgres_url: str) -> Generator[Place]:
    with ExitStack() as closing:
        yield Place(each_postgres_url, closing)


def test_two_claims_at_once_take_different_tasks_and_neither_waits(place: Place) -> None:
    place.insert(*samples(*range(5)))
    first, second = place.session(), place.session()
    taken = first.claim(attrs.evolve(ORDER, limit=3), now=NOW)
    others = second.claim(BOB, now=NOW)
    assert (numbers(taken), numbers(others)) == ([0, 1, 2], [3, 4])
    first.connection.rollback()
    second.connection.commit()
    assert numbers(place.session().claim(ORDER, now=NOW)) == [0, 1, 2]


def test_a_claim_passes_over_what_others_claim_in_each_lane(place: Place) -> None:
    place.insert(*samples(*range(4)), *samples(*range(10, 14), name="b"), *samples(*range(20, 24), priority=1))
    first, second = place.session(), place.session()
    few = attrs.evolve(ORDER, names={"send": 1, "b": 1}, limit=6)
    assert numbers(first.claim(few, now=NOW)) == [20, 21, 22, 23, 0, 1]
    # What is locked still looks due: shares are reckoned with it, so less than wanted may come, but never the same.
    got = numbers(second.claim(attrs.evolve(few, executor="bob"), now=NOW))
    assert got == [2, 3]
    first.connection.commit()
    second.connection.commit()
    assert numbers(place.session().claim(few, now=NOW)) == [10, 11, 12, 13]


def test_two_claims_at_once_steal_a_task_once(place: Place) -> None:
    place.claimed(1)
    late = NOW + 2 * HOUR
    first, second = place.session(), place.session()
    assert numbers(first.claim(BOB, now=late)) == [1]
    assert second.claim(attrs.evolve(ORDER, executor="cid"), now=late) == []
    first.connection.rollback()
    assert numbers(second.claim(attrs.evolve(ORDER, executor="cid"), now=late)) == [1]


def test_a_claim_takes_what_another_changed_since_it_began_only_if_it_is_still_due(place: Place) -> None:
    place.insert(*samples(1, 2))
    slow, quick = place.session(), place.session()
    assert slow.queues(ORDER.names) == ["default"]
    (taken,) = quick.claim(attrs.evolve(ORDER, limit=1), now=NOW)
    quick.connection.commit()
    assert numbers(slow.claim(BOB, now=NOW)) == [2]
    assert place.get(1) == [taken]


def test_a_cancel_waits_for_a_claim_and_becomes_a_request(place: Place) -> None:
    place.insert(sample(1))
    claiming, cancelling = place.session(), place.session()
    claiming.claim(ORDER, now=NOW)
    answer = place.blocked(cancelling, lambda session: operations.cancel(session, task_id(1), "enough"))
    claiming.connection.commit()
    assert answer() == Success(CancelAccepted(task_id(1), TaskState.RUNNING))
    cancelling.connection.commit()
    assert [held.cancel_reason for held in place.session().cancel_requests("ada")] == ["enough"]


def test_a_claim_does_not_wait_for_a_cancel_and_takes_nothing(place: Place) -> None:
    place.insert(sample(1))
    cancelling = place.session()
    assert operations.cancel(cancelling, task_id(1), "enough") == Success(
        CancelAccepted(task_id(1), TaskState.CANCELLED)
    )
    assert place.session().claim(ORDER, now=NOW) == []
    cancelling.connection.commit()
    assert place.session().claim(ORDER, now=NOW) == []


@pytest.mark.parametrize("event", [DONE, events.Committed(JsonText("2"))], ids=["an end", "a commit"])
def test_of_two_writes_at_once_on_one_state_the_second_answers_false(place: Place, event: Event) -> None:
    (claimed,) = place.claimed(1)
    first, second = place.session(), place.session()
    assert first.write([decided(claimed, event)]) == [True]
    answer = place.blocked(second, lambda session: session.write([decided(claimed, events.Interrupted())]))
    first.connection.commit()
    assert answer() == [False]
    second.connection.commit()
    assert place.get(1) == [decided(claimed, event).after]


def test_a_write_that_waited_for_one_that_was_undone_is_accepted(place: Place) -> None:
    (claimed,) = place.claimed(1)
    first, second = place.session(), place.session()
    first.write([decided(claimed, DONE)])
    answer = place.blocked(second, lambda session: session.write([decided(claimed, events.Interrupted())]))
    first.connection.rollback()
    assert answer() == [True]


_Verb = Callable[[PostgresSession, list[TaskRecord]], object]
_VERBS: dict[str, _Verb] = {
    "ends": lambda session, records: session.write([decided(record, DONE) for record in records]),
    "writes": lambda session, records: session.write([decided(record, events.Interrupted()) for record in records]),
    "reports": lambda session, records: session.report([Report(r.id, r.token or "", 0.5, "") for r in records]),
    "gets": lambda session, records: session.get([record.id for record in records]),
    "deletes": lambda session, records: session.delete([record.id for record in records]),
}


@pytest.mark.parametrize("verb", _VERBS)
def test_rows_are_locked_in_the_order_of_their_ids_whatever_the_order_asked_for(place: Place, verb: str) -> None:
    records = place.claimed(4, 2, 3, 1)
    if verb == "deletes":
        with place.committed() as session:
            session.write([decided(record, events.Interrupted()) for record in records])
    holding, asking = place.session(), place.session()
    holding.get([task_id(2)])
    answer = place.blocked(asking, lambda session: _VERBS[verb](session, records))
    free = "select id from {} where id = any (%s) for update skip locked"
    table = sql.Identifier(SCHEMA, "milepost_task")
    found = place.watcher.execute(sql.SQL(free).format(table), [[record.id for record in records]]).fetchall()
    assert sorted(found) == [(task_id(3),), (task_id(4),)]  # 1 is locked by who waits, 2 by whom it waits for
    holding.connection.rollback()
    answer()


def draft(n: int, on_conflict: OnConflict, key: str = "k") -> Draft:
    blank = sample(0)
    texts = (JsonText("{}"), JsonText("{}"))
    return Draft(blank, task_id(n), *texts, "default", 0, Audit.TRANSITIONS, key=key, on_conflict=on_conflict)


def enqueuing(n: int, on_conflict: OnConflict) -> Callable[[PostgresSession], object]:
    return lambda session: operations.enqueue(session, [draft(n, on_conflict)])


CREATED = {n: Success((Enqueued(task_id(n), created=True),)) for n in (1, 2)}
KEPT = Success((Enqueued(task_id(1), created=False),))
TAKEN = Failure(KeyTaken("send", "k", task_id(1)))


@pytest.mark.parametrize(
    ("policy", "wanted"), [(OnConflict.KEEP, KEPT), (OnConflict.REJECT, TAKEN), (OnConflict.REPLACE, CREATED[2])]
)
def test_of_two_who_enqueue_a_free_key_at_once_the_second_gets_what_its_policy_says(
    place: Place, policy: OnConflict, wanted: object
) -> None:
    first, second = place.session(), place.session()
    assert enqueuing(1, policy)(first) == CREATED[1]
    answer = place.blocked(second, enqueuing(2, policy))
    first.connection.commit()
    assert answer() == wanted
    second.connection.commit()
    live = place.session().holders([("send", "k")])
    assert numbers(live.values()) == [2 if policy is OnConflict.REPLACE else 1]


def test_a_key_whose_enqueue_was_undone_is_free_for_who_waited(place: Place) -> None:
    first, second = place.session(), place.session()
    enqueuing(1, OnConflict.REJECT)(first)
    answer = place.blocked(second, enqueuing(2, OnConflict.REJECT))
    first.connection.rollback()
    assert answer() == CREATED[2]


def test_keys_are_locked_in_one_order_so_that_two_who_want_the_same_do_not_deadlock(place: Place) -> None:
    keys = [f"k{n}" for n in range(50)]
    first, second = place.session(), place.session()
    drafts = [draft(n, OnConflict.KEEP, key) for n, key in enumerate(keys)]
    assert isinstance(operations.enqueue(first, drafts), Success)
    answer = place.blocked(second, lambda session: operations.enqueue(session, drafts[::-1]))
    first.connection.commit()
    assert [each.created for each in answer().unwrap()] == [False] * 50


def test_a_requeue_locks_the_key_before_the_row_as_an_enqueue_does_so_that_none_deadlock(place: Place) -> None:
    place.insert(sample(1, key="k", state=TaskState.QUARANTINED, due_at=None))
    replacing, requeuing = place.session(), place.session()
    replacing.holders([("send", "k")])
    answer = place.blocked(requeuing, lambda session: operations.requeue(session, task_id(1), from_start=False))
    assert enqueuing(2, OnConflict.REPLACE)(replacing) == CREATED[2]
    replacing.connection.commit()
    assert answer() == Failure(KeyTaken("send", "k", task_id(2)))


def test_more_keys_than_a_server_has_locks_are_enqueued_in_one_call(place: Place) -> None:
    with place.committed() as session:
        assert session.holders([("send", f"k{n}") for n in range(20_000)]) == {}


def test_a_lost_conditional_insert_is_a_store_error(place: Place) -> None:
    place.insert(sample(1, key="k"))
    with pytest.raises(StoreError, match="milepost_task_key"):
        place.session().insert([sample(2, key="k")])


_BAD_TEXTS = ("a\0b", "a\ud800b", "\0")
_BAD_VERBS: dict[str, Callable[[PostgresSession, TaskRecord, str], object]] = {
    "insert": lambda session, record, bad: session.insert([sample(2, correlation=bad)]),
    "insert many": lambda session, record, bad: session.insert([sample(n, correlation=bad) for n in range(2, 1_100)]),
    "insert of a past": lambda session, record, bad: session.insert([sample(2, cancel_reason=bad)]),
    "holders": lambda session, record, bad: session.holders([("send", bad)]),
    "claim": lambda session, record, bad: session.claim(attrs.evolve(ORDER, names={bad: 1}), now=NOW),
    "claim as": lambda session, record, bad: session.claim(attrs.evolve(ORDER, executor=bad), now=NOW),
    "claim from": lambda session, record, bad: session.claim(attrs.evolve(ORDER, queue=bad), now=NOW),
    "queues": lambda session, record, bad: session.queues({bad: 1}),
    "next due": lambda session, record, bad: session.next_due({"send": 1}, [bad]),
    "write": lambda session, record, bad: session.write([decided(record, events.CancelRequested(bad))]),
    "report": lambda session, record, bad: session.report([Report(record.id, record.token or "", 0.5, bad)]),
    "get": lambda session, record, bad: session.get([TaskId(bad)]),
    "count": lambda session, record, bad: session.count(TaskFilter(metadata=(JsonText(json.dumps(bad)),))),
    "history": lambda session, record, bad: session.history(TaskId(bad)),
    "delete": lambda session, record, bad: session.delete([TaskId(bad)]),
    "open lease": lambda session, record, bad: session.open_lease(sample_lease(bad)),
    "close lease": lambda session, record, bad: session.close_lease(bad),
    "held": lambda session, record, bad: session.held(bad),
}


@pytest.mark.parametrize("verb", _BAD_VERBS)
def test_text_that_cannot_be_stored_is_a_store_error_of_every_verb(place: Place, verb: str) -> None:
    (claimed,) = place.claimed(1)
    for bad in _BAD_TEXTS:
        with pytest.raises(StoreError):
            _BAD_VERBS[verb](place.session(), claimed, bad)
    assert place.get(1) == [claimed]


@pytest.mark.parametrize("count", [5, 1_500])
def test_new_tasks_and_ones_with_a_past_arrive_whole_however_many(place: Place, count: int) -> None:
    fresh = [sample(n, key=f'k"{n}\\', correlation=None if n % 2 else "tab\tnew\nline\\N") for n in range(count)]
    place.insert(*fresh)
    assert place.get(*range(count)) == fresh
    assert numbers(place.session().claim(attrs.evolve(ORDER, limit=3), now=NOW)) == [0, 1, 2]
    old = [sample(count + n, failures=n, progress=n / 3, cancel_requested_at=NOW) for n in range(count)]
    place.insert(*old)
    assert place.get(*range(count, 2 * count)) == old


@pytest.mark.slow
def test_payloads_that_do_not_fit_into_one_statement_are_written_in_several(place: Place) -> None:
    large = JsonText(f'"{"x" * ((1 << 20) - 2)}"')
    place.insert(*(sample(n, metadata_json=large) for n in range(40)))
    with place.committed() as session:
        claimed = session.claim(ORDER, now=NOW)
        several = [decided(record, events.Succeeded(large)) for record in claimed for _ in range(2)]
        assert session.write(several) == [True, False] * 40
        assert session.write([decided(several[0].after, events.Requeued())]) == [True]
    ended = place.get(1, 39)
    assert [(len(record.metadata_json), len(record.result_json or "")) for record in ended] == [(1 << 20, 1 << 20)] * 2


def test_several_lines_of_history_of_one_change_are_all_kept(place: Place) -> None:
    (claimed,) = place.claimed(1)
    line = HistoryEvent(NOW, HistoryKind.SUSPENDED, TaskState.SUSPENDED, 3, "cid", "odd")
    change = attrs.evolve(decided(claimed, DONE), history=(*decided(claimed, DONE).history, line, line))
    with place.committed() as session:
        assert session.write([change, Transition(claimed, claimed, (line,))]) == [True, False]
    assert tuple(place.session().history(claimed.id)[-3:]) == change.history


def test_a_lent_connection_of_another_zone_and_row_factory_reads_the_same_and_notifies(place: Place) -> None:
    (claimed,) = place.claimed(1)
    lent = place.session(is_lent=True)
    lent.connection.row_factory = dict_row  # type: ignore[assignment]
    lent.connection.execute("set local timezone = 'Asia/Kathmandu'")
    listened = sql.SQL("listen {}").format(sql.Identifier(channel_of(SCHEMA)))
    place.watcher.execute(listened)
    (found,) = lent.get([claimed.id])
    assert found == claimed
    assert found.started_at is not None
    assert found.started_at.tzinfo is UTC
    assert lent.transaction.execute("select %s::int, 2", [1]) == [(1, 2)]
    assert lent.transaction.execute("select '100%'") == [("100%",)]
    assert lent.transaction.execute("create temp table t (n int)") == []
    lent.write([decided(claimed, DONE)])
    lent.insert(samples(7))
    lent.connection.commit()
    told = [notify.payload for notify in place.watcher.notifies(timeout=HUNG_SECONDS, stop_after=2)]
    assert told == [":f", ":d"]


def test_the_clock_is_the_servers_and_read_once_for_a_transaction(place: Place) -> None:
    session = PostgresSession(place.session().connection, SCHEMA)
    first = session.now()
    assert first == session.now()
    assert first.tzinfo is UTC
    ((server,),) = session.transaction.execute("select clock_timestamp()")
    assert timedelta(0) <= server - first < timedelta(seconds=HUNG_SECONDS)


# Plans: what a turn does must not depend on how much there is. A claim of 100 touches each row it takes a few times.

_BUFFERS_MAX = 60
"""Per task that is claimed or written, with its history, indexes and all."""

_FILL = """insert into {schema}.milepost_task (id, name, version, queue, priority, audit, state, due_at, finished_at,
  created_at, metadata_json, execution_metadata_json, initial_execution_metadata_json)
select $1 || n, $2, 1, 'default', $3::int, 'transitions', $4, $5::timestamptz, $6::timestamptz, now(), '1', '1', '1'
from generate_series(1, $7::int) as n"""


def fill(place: Place, rows: int, name: str, *, priority: int = 0, due_at: datetime | None = None) -> None:
    state, finished = ("pending", None) if due_at is not None else ("completed", NOW)
    with place.committed() as session, psycopg.RawCursor(session.connection) as cursor:
        text = _FILL.replace("{schema}", sql.Identifier(SCHEMA).as_string())
        cursor.execute(text.encode(), (f"{name}{state}{priority}", name, priority, state, due_at, finished, rows))


@pytest.fixture
def explained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """The name and plan of each statement that a session runs from now on."""
    plans: list[tuple[str, dict[str, Any]]] = []
    names = {text: name for name, text in statements(SCHEMA).items()}
    run = PostgresSession._run  # pyright: ignore[reportPrivateUsage]

    def explaining(self: PostgresSession, text: bytes, parameters: Any) -> Any:
        if text in names:
            self.connection.execute("savepoint explained")
            ((found,),) = run(self, b"explain (analyze, buffers, timing off, format json) " + text, parameters)
            plans.append((names[text], json.loads(found)[0]["Plan"]))
            self.connection.execute("rollback to explained")
        return run(self, text, parameters)

    monkeypatch.setattr(PostgresSession, "_run", explaining)
    return plans


def nodes(plan: dict[str, Any]) -> Generator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def a_turn(session: PostgresSession, ends: list[Event]) -> None:
    session.renew("ada", now=NOW, lease_until=NOW + HOUR, running=1)
    records = session.claim(attrs.evolve(ORDER, names={"send": 1, "b": 3}), now=NOW)
    for start, end in enumerate(ends):
        session.report([Report(record.id, record.token or "", 0.5, "") for record in records[start :: len(ends)]])
        session.write([decided(record, end) for record in records[start :: len(ends)]])
    session.cancel_requests("ada")
    session.held("ada")
    session.queues({"send": 1})
    session.next_due({"send": 1, "c": 1}, ["default", "other"])
    session.get([records[0].id])
    session.holders([("send", "k")])
    session.history(records[0].id)
    session.logs.append([LogLine(record.id, record.fence, 0, NOW, 20, "send", "working") for record in records])
    session.logs.of(records[0].id, limit=10)
    session.logs.prune(before=NOW + HOUR, limit=10)
    parent, *children = [record.id for record in records[:30]]
    session.joins.put(parent, children)
    session.joins.end(session.get(children))
    session.joins.reopen(children)
    session.joins.unfinished([parent, *children])
    session.joins.unfinished_of(parent)
    session.joins.counts([parent])
    session.joins.children([parent])
    session.joins.hand_over(parent, children[0])
    session.joins.descendants([parent])
    session.ends.remove([EndedTask(record.id, record.state, NOW, record.revision) for record in records])
    session.delete([records[1].id])


@pytest.mark.slow
@pytest.mark.parametrize("analyzed", [False, True], ids=["without statistics", "with statistics"])
def test_what_a_turn_does_reaches_its_rows_by_indexes_and_touches_few_pages(
    each_place: Place, explained: list[tuple[str, dict[str, Any]]], analyzed: bool
) -> None:
    fill(each_place, 5_000, "send")
    fill(each_place, 5_000, "send", due_at=NOW)
    fill(each_place, 5_000, "send", priority=9, due_at=NOW + HOUR)
    fill(each_place, 5_000, "unknown", due_at=NOW)
    waiting: dict[str, Any] = {"state": TaskState.SUSPENDED, "due_at": None, "join": Join.ALL_FINISHED}
    with each_place.committed() as session:
        session.insert(samples(1, 2, **waiting))
        session.joins.put(task_id(1), [TaskId(f"sendpending0{n}") for n in range(1, 5_001)])
        session.joins.put(task_id(2), [TaskId(f"unknownpending0{n}") for n in range(1, 5_001)])
    if analyzed:
        for table in ("milepost_task", "milepost_history", "milepost_child"):
            each_place.watcher.execute(sql.SQL("analyze {}").format(sql.Identifier(SCHEMA, table)))
    session = each_place.session()
    explained.clear()
    a_turn(session, [DONE, events.Interrupted()])
    names = {name for name, _ in explained}
    assert {"claim", "settle", "write", "report", "get_locked", "next_due"} <= names
    assert {"append_logs", "prune_logs", "delete_ended"} <= names
    assert {"end_children", "reopen_children", "unfinished", "hand_over_children", "descendants"} <= names
    for name, plan in explained:
        scanned = {node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"}
        assert scanned <= {"milepost_queue"}, f"{name} scans a table"  # a handful of rows, read whole
        buffers = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        assert buffers < _BUFFERS_MAX * 100, f"{name} touches {buffers} pages"
        assert max(node["Actual Rows"] * node["Actual Loops"] for node in nodes(plan)) <= 200, f"{name} reads too much"


def test_a_plan_that_was_kept_from_an_empty_table_does_not_scan_a_full_one(
    each_place: Place, explained: list[tuple[str, dict[str, Any]]]
) -> None:
    session = each_place.session()
    for _ in range(12):
        assert session.claim(ORDER, now=NOW) == []
    explained.clear()
    fill(each_place, 3_000, "send", due_at=NOW)
    records = session.claim(ORDER, now=NOW)
    session.write([decided(record, DONE) for record in records])
    assert len(records) == 100
    for name, plan in explained:
        assert plan["Shared Hit Blocks"] < _BUFFERS_MAX * 100, name
