"""What ends cost where families are large: the same for each, however many there are."""

from __future__ import annotations

from collections.abc import Callable, Sized
from functools import partial
from pathlib import Path
from typing import Any, cast, final

import pytest

from milepost.lifecycle import events
from milepost.lifecycle.record import TaskId
from milepost.lifecycle.ties import Join
from milepost.stores import flow, operations
from milepost.stores.memory import MemoryStore
from milepost.stores.open import connect_store
from milepost.stores.protocol import Session
from milepost.testing.conformance.kit import decided, task_id
from tests.database import store_url
from tests.stores.relations import DONE, FAILED, Family, ask

_BATCH = 50
_TEN_TIMES = 15
"""What ten times as many may cost, and a half more: what grows with their square would cost a hundred times as much."""


@final
class Measured:
    """A session that adds up how much goes through its verbs, in and out."""

    def __init__(self, inner: Any, add: Callable[[int], None]) -> None:
        self._inner = inner
        self._add = add

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if name in ("joins", "events", "schedules"):
            return Measured(value, self._add)
        if not callable(value):
            return value

        def verb(*args: Any, **named: Any) -> Any:
            answer = value(*args, **named)
            self._add(1 + sum(len(each) for each in (*args, answer) if isinstance(each, Sized)))
            return answer

        return verb


def measured(family: Family, function: Callable[[Session], object]) -> int:
    """How much goes through the session in which `function` runs."""
    amounts: list[int] = []
    family.store.transact_blocking(lambda session: function(cast("Session", Measured(session, amounts.append))))
    return sum(amounts)


def ending_all(children: int, join: Join = Join.ALL_FINISHED, end: events.Event = DONE) -> int:
    """What it takes to end the children of one parent, which all run, batch by batch."""
    family = Family(MemoryStore())
    family.join(1, *(ask(n) for n in range(2, children + 2)), join=join)
    for n in range(2, children + 2):
        family.run(n)
    amount = 0
    for start in range(2, children + 2, _BATCH):
        ids = [task_id(n) for n in range(start, min(start + _BATCH, children + 2))]

        amount += measured(family, partial(_end_all, ids=ids, end=end))
    assert family.states(1) == "pending"
    return amount


def cancelling_a_tree(nodes: int) -> int:
    """What it takes to cancel a task with so many descendants, nine to a node."""
    family = Family(MemoryStore())
    family.join(1, *(ask(n) for n in range(2, nodes // 10 + 2)))
    for n in range(2, nodes // 10 + 2):
        family.join(n, *(ask(nodes + n * 9 + k) for k in range(9)))
    return measured(family, lambda session: operations.cancel(session, task_id(1), "enough", descendants=True).unwrap())


def test_the_end_of_a_child_costs_the_same_however_many_others_there_are() -> None:
    assert ending_all(1_000) <= _TEN_TIMES * ending_all(100)


def test_where_one_failure_cancels_the_others_all_ends_cost_what_they_cost_one_by_one() -> None:
    fails_fast = Join.ALL_FINISHED_FAIL_FAST
    assert ending_all(1_000, fails_fast, FAILED) <= _TEN_TIMES * ending_all(100, fails_fast, FAILED)


def test_the_cancel_of_a_tree_costs_the_same_for_each_of_its_tasks() -> None:
    assert cancelling_a_tree(1_000) <= _TEN_TIMES * cancelling_a_tree(100)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_cancel_of_a_thousand_leaves_nothing_that_could_run_and_ten_thousand_children_wake_their_parent_once(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store = connect_store(store_url(kind, request, tmp_path))
    try:
        family = Family(store)
        family.join(1, *(ask(n) for n in range(2, 10_002)))
        family.cancel(2, descendants=True)
        for start in range(3, 10_002, 1_000):
            ids = [task_id(n) for n in range(start, min(start + 1_000, 10_002))]
            store.transact_blocking(partial(_run_all, ids=ids))
        assert family.history(1)[-1] == "woken: 9999 of 10000 completed, 1 was cancelled"
        family.join(1, *(ask(n) for n in range(20_000, 21_000)))
        assert family.cancel(1, descendants=True) is not None
        assert family.states(1, *range(20_000, 21_000)) == " ".join(["cancelled"] * 1_001)
    finally:
        store.close()


def _run_all(session: Session, ids: list[TaskId]) -> None:
    for event in (events.Claimed("ada", "token"), DONE):
        _end_all(session, ids, event)


def _end_all(session: Session, ids: list[TaskId], end: events.Event) -> None:
    now = session.now()
    assert all(flow.write(session, [decided(record, end, now=now) for record in session.get(ids)], now=now))
