"""The same random program of joins on the memory store, which is the model, and on another one: equal answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.lifecycle.change import Transition
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.lifecycle.ties import Join, Tie
from milepost.payload import JsonText
from milepost.stores.memory import MemoryStore
from milepost.stores.open import connect_store
from milepost.stores.protocol import Session, Store
from milepost.testing.conformance.kit import NOW, sample, task_id
from tests import strategies

pytestmark = pytest.mark.slow

TASKS = 7
WAITING = {0: (6, 5), 1: (3, 4, 2, 6), 2: (4, 3)}
FLOORS = {"ends": 50, "ended children": 200, "descendants": 200, "handed over": 10, "opened": 5}
IDS = st.integers(0, TASKS).map(task_id)  # one of them is not there
SEVERAL = st.lists(IDS, max_size=4, unique=True)
STATES = st.sampled_from([TaskState.SUSPENDED, TaskState.PENDING, TaskState.COMPLETED, TaskState.CANCELLED])
ENDS = st.sampled_from([TaskState.COMPLETED, TaskState.CANCELLED])
CHILDREN = st.integers(2, TASKS).map(task_id)
Step: TypeAlias = tuple[str, Any]
STEPS = st.one_of(
    st.tuples(st.just("put"), st.tuples(IDS, SEVERAL)),
    st.tuples(st.just("become"), st.tuples(IDS, STATES, st.none() | st.sampled_from(Join), strategies.ties())),
    st.tuples(st.just("become and end"), st.tuples(CHILDREN, ENDS)),
    st.tuples(st.just("end"), SEVERAL),
    st.tuples(st.just("reopen"), st.lists(CHILDREN, min_size=1, max_size=3, unique=True)),
    st.tuples(st.just("hand over"), st.tuples(IDS, IDS)),
    st.tuples(st.just("delete"), SEVERAL),
    st.tuples(st.just("insert"), st.tuples(IDS, st.none() | IDS)),
)


class _Undone(Exception):
    """What rolls a transaction back."""


@pytest.mark.parametrize("driver", ["apsw", "sqlite3"])
def test_joins_are_the_same_in_sqlite_and_in_memory(tmp_path: Any, driver: str) -> None:
    _are_the_same(f"sqlite:///{tmp_path}/tasks.db?driver={driver}")


def test_joins_are_the_same_in_postgres_and_in_memory(postgres_url: str) -> None:
    _are_the_same(postgres_url)


def _are_the_same(url: str) -> None:
    stores = (MemoryStore(), connect_store(url))
    seen = dict.fromkeys(FLOORS, 0)

    @settings(max_examples=60)
    @given(st.lists(STEPS, min_size=15, max_size=30))
    def do_the_same(steps: list[Step]) -> None:
        model, other = (_told(store, steps, seen) for store in stores)
        assert other == model
        assert [store.read_blocking(lambda session: session.copy_out(0, limit=1)) for store in stores] == [[], []]

    try:
        do_the_same()
    finally:
        for store in stores:
            store.close()
    # A program in which nothing happens agrees too.
    assert {what: count for what, count in seen.items() if count < FLOORS[what]} == {}


def _told(store: Store, steps: Sequence[Step], seen: dict[str, int]) -> list[object]:
    """What a program tells, in a transaction that is undone."""
    told: list[object] = []

    def run(session: Session) -> None:
        told.clear()
        session.insert(_new(n, None if n % 2 else task_id(n // 2)) for n in range(TASKS))
        for parent, children in WAITING.items():
            _become(session, task_id(parent), TaskState.SUSPENDED, Join.ALL_FINISHED, Tie.NONE)
            session.joins.put(task_id(parent), [task_id(n) for n in children])
        for what, of in steps:
            told.append(_take(session, what, of, seen))
            told.extend(_whole(session, seen))
        raise _Undone

    with pytest.raises(_Undone):
        store.transact_blocking(run)
    return told


def _take(session: Session, what: str, of: Any, seen: dict[str, int]) -> object:
    joins = session.joins
    match what:
        case "put":
            joins.put(*of)
        case "become":
            return _become(session, *of)
        case "become and end":
            id, state = of
            _become(session, id, state, None, Tie.NONE)
            told = joins.end(_final(session, [id]))
            seen["ends"] += len(told)
            return told
        case "end":
            told = joins.end(_final(session, of))
            seen["ends"] += len(told)
            return told
        case "reopen":
            before = _open(session)
            joins.reopen(of)
            seen["opened"] += _open(session) - before
        case "hand over" if of[0] != of[1]:
            joins.put(of[1], [])
            seen["handed over"] += of[0] in joins.counts([of[0]])
            return joins.hand_over(*of)
        case "delete":
            return session.delete(of)
        case "insert":
            session.delete([of[0]])
            if not session.get([of[0]]):
                session.insert([_new(int(of[0][-1]), of[1])])
        case _:
            pass
    return None


def _whole(session: Session, seen: dict[str, int]) -> Iterator[object]:
    """All that joins say, and all that there is."""
    ids = [task_id(n) for n in range(TASKS + 1)]
    counts = session.joins.counts(ids)
    seen["ended children"] += sum(count.total - count.unfinished for count in counts.values())
    below = [session.joins.descendants([id]) for id in ids]
    seen["descendants"] += sum(map(len, below))
    yield session.joins.children(ids)
    yield counts
    yield session.joins.unfinished(ids)
    yield [session.joins.unfinished_of(id) for id in ids]
    yield below
    yield [(copy.record, copy.children) for copy in session.copy_out(0, limit=100)]


def _open(session: Session) -> int:
    return sum(count.unfinished for count in session.joins.counts([task_id(n) for n in range(TASKS + 1)]).values())


def _final(session: Session, ids: Sequence[TaskId]) -> list[TaskRecord]:
    return [record for record in session.get(ids) if record.state.is_final]


def _become(session: Session, id: TaskId, state: TaskState, join: Join | None, ties: Tie) -> list[bool]:
    changes = {
        "state": state,
        "join": join,
        "ties": ties,
        "due_at": NOW if state is TaskState.PENDING else None,
        "finished_at": NOW if state.is_final else None,
        "result_json": JsonText('{"x":[1.0,-0.0]}') if state is TaskState.COMPLETED else None,
        "error_json": JsonText('"é"') if state is TaskState.CANCELLED else None,
    }
    return session.write([_written(record, changes) for record in session.get([id])])


def _written(record: TaskRecord, changes: dict[str, Any]) -> Transition:
    return Transition(record, record.changed({**changes, "revision": record.revision + 1}), ())


def _new(n: int, parent: TaskId | None) -> TaskRecord:
    return sample(n, parent=parent, parent_position=None if parent is None else f"1.1.{n}")
