"""The same random program of verbs on the memory store and on another one: equal answers, equal contents, always.

The memory store is the model. Tokens are random in each store, so they are compared by whether there is one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, cast

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from milepost.errors import StoreError
from milepost.lifecycle.change import Transition
from milepost.lifecycle.events import Event
from milepost.lifecycle.invariants import violations
from milepost.lifecycle.queues import QueueSettings
from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.lifecycle.transition import transition
from milepost.payload import Json, contains, to_json_text
from milepost.stores.filter import TaskFilter
from milepost.stores.memory import MemoryStore
from milepost.stores.open import connect_store
from milepost.stores.protocol import ClaimOrder, Held, Report, Session, Store
from milepost.testing.conformance.kit import NOW, numbers, read_dump, sample, sample_lease
from tests import strategies

pytestmark = pytest.mark.slow

T = TypeVar("T")
URLS = ("sqlite:///{folder}/tasks.db", "sqlite:///{folder}/tasks.db?driver=sqlite3")
EXECUTORS = st.sampled_from(["ada", "bob", "cid"])
EVERY_NAME = st.just({"send": 3, "bill": 3})
PICKS = st.integers(0, 50)
FLOORS = {"insert": 20, "key taken": 3, "claim": 20, "reclaim": 5, "written": 20, "stale": 5, "rolled back": 5}


class _Undone(Exception):
    """What rolls a transaction back."""


class Pair(RuleBasedStateMachine):
    """The model and the store that is compared with it."""

    url: str
    seen: Counter[str]
    now: datetime
    inserted: int

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.stores: tuple[Store, Store] = (
            MemoryStore(),
            connect_store(self.url.format(folder=self.folder.name, name=Path(self.folder.name).name)),
        )
        self.now = NOW
        self.inserted = 0

    def teardown(self) -> None:
        for store in self.stores:
            store.close()
        self.folder.cleanup()

    @invariant()
    def the_stores_hold_the_same(self) -> None:
        dumps = [store.read_blocking(read_dump) for store in self.stores]
        assert _comparable(dumps[1]) == _comparable(dumps[0])
        for record in dumps[1].records:
            assert violations(record) == ()

    def both(self, verb: Callable[[Session, int], T], *, undone: bool = False) -> tuple[T | None, bool]:
        """Call `verb` on both stores and compare; returns the model's answer, and whether both refused."""
        outcomes = [_outcome(store, partial(_swapped, verb, n), undone) for n, store in enumerate(self.stores)]
        assert _comparable(outcomes[1]) == _comparable(outcomes[0])
        self.seen["rolled back"] += undone
        return outcomes[0]

    def pick(self, number: int, *, states: tuple[TaskState, ...] | None = None) -> tuple[TaskRecord, TaskRecord] | None:
        """The same task as each store has it, so with each store's token."""
        wanted = TaskFilter(states=states)
        records = [store.read_blocking(partial(_all_of, wanted)) for store in self.stores]
        return (records[0][number % len(records[0])], records[1][number % len(records[1])]) if records[0] else None

    def decided(self, record: TaskRecord, events: Sequence[Event]) -> list[Transition]:
        """A chain of decisions, up to the first that is refused."""
        changes: list[Transition] = []
        for event in events:
            decision = transition(record, event, now=self.now)
            if not isinstance(decision, Transition):
                break
            changes.append(decision)
            record = decision.after
        return changes


class TwoStores(Pair):
    """Whatever executors and clients do to tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.earlier: list[tuple[TaskRecord, TaskRecord]] = []

    @initialize(tasks=st.lists(strategies.new_tasks(), min_size=4, max_size=8))
    def begin(self, tasks: list[TaskRecord]) -> None:
        self.insert_new(tasks, undone=False)

    @rule(tasks=st.lists(strategies.new_tasks(), min_size=1, max_size=4), undone=st.integers(0, 4))
    def insert(self, tasks: list[TaskRecord], undone: int) -> None:
        self.insert_new(tasks, undone=undone == 0)

    def insert_new(self, tasks: list[TaskRecord], *, undone: bool) -> None:
        records: list[TaskRecord] = []
        for task in tasks:
            self.inserted += 1
            records.append(strategies.nth(self.inserted, task))
        _, refused = self.both(lambda session, _: session.insert(records), undone=undone)
        self.seen["key taken" if refused else "insert"] += 1

    @rule(
        executor=EXECUTORS,
        queue=strategies.queues(),
        known=EVERY_NAME | strategies.known_names(),
        limit=st.integers(0, 5),
        due_max=st.none() | st.integers(0, 5),
    )
    def claim(self, executor: str, queue: str, known: dict[str, int], limit: int, due_max: int | None) -> None:
        self.claim_by(ClaimOrder(executor, queue, known, limit, due_max))

    @rule(executor=EXECUTORS, queue=strategies.queues())
    def claim_whatever_is_due(self, executor: str, queue: str) -> None:
        self.claim_by(ClaimOrder(executor, queue, {"send": 3, "bill": 3}, 5, due_max=5))

    def claim_by(self, order: ClaimOrder) -> None:
        claimed, _ = self.both(lambda session, _: session.claim(order, now=self.now))
        self.remember(order.limit)
        self.seen["claim"] += sum(record.fence == 1 for record in claimed or ())
        self.seen["reclaim"] += sum(record.fence > 1 for record in claimed or ())

    @rule(queue=strategies.queues(), paused=st.integers(0, 5), bound=st.sampled_from([None, None, 1, 3]))
    def say_something_of_a_queue(self, queue: str, paused: int, bound: int | None) -> None:
        paused_at = None if paused else self.now
        said = QueueSettings(name=queue, paused_at=paused_at, concurrency=bound, capacity=bound)
        self.both(lambda session, _: session.settings.put(said))

    @rule(tasks=st.lists(strategies.new_tasks(), min_size=1, max_size=2))
    def insert_unless_bounded(self, tasks: list[TaskRecord]) -> None:
        self.inserted += len(tasks)
        records = [strategies.nth(self.inserted - n, task) for n, task in enumerate(tasks)]
        self.both(lambda session, _: session.insert_unbounded(records))

    @rule(pick=PICKS, events=st.lists(strategies.run_events(), min_size=1, max_size=3), undone=st.integers(0, 4))
    def write_on_a_running_task(self, pick: int, events: list[Event], undone: int) -> None:
        self.remember(pick)
        self.write(self.pick(pick, states=(TaskState.RUNNING,)), events, undone=undone == 0)

    @rule(pick=PICKS, event=strategies.outside_events())
    def write_on_any_task(self, pick: int, event: Event) -> None:
        self.write(self.pick(pick), [event])

    def write(self, pair: tuple[TaskRecord, TaskRecord] | None, events: list[Event], *, undone: bool = False) -> None:
        if pair:
            self.earlier.append(pair)
            changes = tuple(self.decided(record, events) for record in pair)
            answers, _ = self.both(lambda session, n: session.write(changes[n]), undone=undone)
            self.seen["written"] += sum(answers or ())

    @rule(pick=PICKS, event=strategies.run_events())
    def write_on_what_was_read_earlier(self, pick: int, event: Event) -> None:
        if self.earlier:
            pair = self.earlier[pick % len(self.earlier)]
            changes = tuple(self.decided(record, [event]) for record in pair)
            answers, _ = self.both(lambda session, n: session.write(changes[n]))
            self.seen["stale"] += (answers or []).count(False)

    @rule(pick=PICKS, fraction=st.floats(0, 1), forged=st.booleans())
    def report(self, pick: int, fraction: float, forged: bool) -> None:
        if pair := self.pick(pick, states=(TaskState.RUNNING,)):
            tokens = [record.token or "" for record in pair]
            self.both(
                lambda session, n: session.report(
                    [Report(pair[n].id, "forged" if forged else tokens[n], fraction, "note")]
                )
            )

    @rule(picks=st.lists(PICKS, max_size=3))
    def delete(self, picks: list[int]) -> None:
        ids = [pair[0].id for number in picks if (pair := self.pick(number))]
        self.both(lambda session, _: session.delete(ids))

    @rule(executor=EXECUTORS, delay=strategies.seconds(), how=st.sampled_from(["open", "renew", "close"]))
    def change_a_lease(self, executor: str, delay: timedelta, how: str) -> None:
        until = self.now + delay

        def change(session: Session, _: int) -> bool | None:
            if how == "renew":
                return session.renew(executor, now=self.now, lease_until=until, running=1)
            if how == "open":
                session.open_lease(sample_lease(executor, until))
            else:
                session.close_lease(executor)
            return None

        self.both(change)

    @rule(delay=strategies.seconds())
    def pass_time(self, delay: timedelta) -> None:
        self.now += delay

    @rule(wanted=strategies.task_filters(), limit=st.integers(0, 6), pick=PICKS, known=strategies.known_names())
    def ask(self, wanted: TaskFilter, limit: int, pick: int, known: dict[str, int]) -> None:
        pair = self.pick(pick)
        paged = attrs.evolve(wanted, cursor=pair[0].id if pair and pick % 2 else None)
        keys = [(name, key) for name in known for key in ("a", "b", "")]

        def everything(session: Session, _: int) -> list[object]:
            return [
                numbers(session.search(paged, limit=limit)),
                session.count(paged),
                session.queues(known),
                session.next_due(known, ["default"]),
                session.next_due(known, ["slow", "default"]),
                [session.held(executor) for executor in ("ada", "bob", "cid")],
                [session.cancel_requests(executor) for executor in ("ada", "bob", "cid")],
                session.holders(keys),
                session.settings.all(),
                session.settings.loads(now=self.now),
                [
                    (session.settings.waiting(queue, most=4), session.settings.running(queue))
                    for queue in ("slow", "default")
                ],
                [(copy.record, copy.history) for copy in session.copy_out(0, limit=1_000)],
            ]

        self.both(everything)

    def remember(self, number: int) -> None:
        """Keep a running task as it is now, for somebody who writes too late."""
        if pair := self.pick(number, states=(TaskState.RUNNING,)):
            self.earlier.append(pair)


def _swapped(verb: Callable[[Session, int], T], store: int, session: Session) -> T:
    return verb(session, store)


def _outcome(store: Store, function: Callable[[Session], T], undone: bool) -> tuple[T | None, bool]:
    answers: list[T] = []

    def run(session: Session) -> None:
        answers.append(function(session))
        if undone:
            raise _Undone

    try:
        store.transact_blocking(run)
    except _Undone:
        return answers[0], False
    except StoreError:
        return None, True
    return answers[0], False


def _comparable(value: Any) -> Any:
    match value:
        case TaskRecord(token=None):
            return value
        case TaskRecord() | Held():
            return attrs.evolve(value, token="token")
        case list() | tuple():
            return [_comparable(item) for item in cast("Sequence[object]", value)]
        case dict():
            return {key: _comparable(item) for key, item in cast("dict[object, object]", value).items()}
        case _:
            return value


@pytest.mark.parametrize("url", URLS)
def test_a_store_and_the_memory_store_do_the_same(url: str) -> None:
    do_the_same(TwoStores, url, FLOORS)


def test_the_postgres_store_and_the_memory_store_do_the_same(postgres_url: str) -> None:
    do_the_same(TwoStores, in_schemas(postgres_url), FLOORS)


def in_schemas(postgres_url: str) -> str:
    """The URL of a pair's own schema."""
    return f"{postgres_url}{'&' if '?' in postgres_url else '?'}milepost_schema={{name}}"


def do_the_same(pair: type[Pair], url: str, floors: dict[str, int], *, programs: int = 60) -> None:
    """Run programs of `pair`; each thing in `floors` must have happened so often in all of them."""
    seen: Counter[str] = Counter()
    machine = type("Machine", (pair,), {"url": url, "seen": seen})
    run_state_machine_as_test(machine, settings=settings(max_examples=programs, stateful_step_count=40, deadline=None))
    # A program in which nothing happens agrees too.
    assert {what: seen[what] for what, floor in floors.items() if seen[what] < floor} == {}


@settings(max_examples=100)
@given(st.lists(strategies.json_values(), min_size=1, max_size=5), strategies.json_values(6), st.data())
def test_containment_in_sql_is_what_the_pure_function_says(
    wholes: list[Json], other: Json, data: st.DataObject
) -> None:
    parts = [other, *(data.draw(_parts_of(whole)) for whole in wholes)]
    with TemporaryDirectory() as folder:
        store = connect_store(f"sqlite:///{Path(folder)}/tasks.db")
        try:
            records = [sample(n, metadata_json=to_json_text(whole).unwrap()) for n, whole in enumerate(wholes)]
            store.transact_blocking(lambda session: session.insert(records))
            for part in parts:
                wanted = TaskFilter(metadata=(to_json_text(part).unwrap(),))
                found = numbers(store.read_blocking(partial(_all_of, wanted)))
                assert found == [n for n, whole in enumerate(wholes) if contains(whole, part)]
        finally:
            store.close()


def test_containment_in_postgres_is_what_the_pure_function_says(postgres_url: str) -> None:
    store = connect_store(postgres_url)

    @settings(max_examples=100)
    @given(st.lists(strategies.json_values(), min_size=1, max_size=5), strategies.json_values(6), st.data())
    def contains_the_same(wholes: list[Json], other: Json, data: st.DataObject) -> None:
        parts = [other, *(data.draw(_parts_of(whole)) for whole in wholes)]

        def compare(session: Session) -> None:
            session.insert(sample(n, metadata_json=to_json_text(whole).unwrap()) for n, whole in enumerate(wholes))
            for part in parts:
                found = numbers(_all_of(TaskFilter(metadata=(to_json_text(part).unwrap(),)), session))
                assert found == [n for n, whole in enumerate(wholes) if contains(whole, part)]
            raise _Undone

        with pytest.raises(_Undone):
            store.transact_blocking(compare)

    try:
        contains_the_same()
    finally:
        store.close()


def _all_of(wanted: TaskFilter, session: Session) -> list[TaskRecord]:
    return session.search(wanted, limit=1_000)


def _parts_of(whole: Json) -> st.SearchStrategy[Json]:
    """Values that `whole` contains, more often than not."""
    match whole:
        case dict() if whole:
            keys = st.lists(st.sampled_from(sorted(whole)), unique=True, max_size=len(whole))
            return keys.flatmap(lambda chosen: st.fixed_dictionaries({key: _parts_of(whole[key]) for key in chosen}))
        case list() if whole:
            return st.lists(st.sampled_from(range(len(whole))).flatmap(lambda n: _parts_of(whole[n])), max_size=3)
        case _:
            return st.just(whole)
