"""What `explain` says is what a turn does: in random situations, on every store, in both directions.

A situation is built in a transaction that is rolled back; in it, `explain` is asked, and then every live executor takes
turns, with what its own settings make it ask for.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, final, get_args

import pytest
from hypothesis import given, settings

from milepost import Gate, Store, TaskId
from milepost.stores.facts import explain
from milepost.stores.open import connect_store
from milepost.stores.protocol import Session
from milepost.testing.conformance.kit import HOUR
from tests.database import store_url
from tests.executor.situations import PLANTED, Situation, Worker, situations

pytestmark = pytest.mark.slow

RUNNABLE_MIN: Final = 50
EXAMPLES: Final = {"memory": 300, "sqlite": 120, "postgres": 120}


class _Undone(Exception):
    """What rolls a situation back."""


@final
class Trial:
    """Builds situations in a store, compares what is said of tasks with what happens to them, and counts."""

    def __init__(self, store: Store) -> None:
        self.seen: Counter[str] = Counter()
        self._store = store

    def compare(self, situation: Situation, ids: Sequence[TaskId]) -> None:
        """Of these tasks, exactly those that have no gate start."""

        def compare(session: Session) -> None:
            situation.build(session)
            said = {id: explain(session, id).unwrap() for id in ids}
            started = _started(session, situation.workers)
            assert {id for id, gates in said.items() if gates is None} == started & set(ids), said
            for gates in said.values():
                self._count(gates)
            raise _Undone

        with pytest.raises(_Undone):
            self._store.transact_blocking(compare)

    def _count(self, gates: tuple[Gate, ...] | None) -> None:
        assert gates is None or gates
        self.seen.update(["runnable"] if gates is None else {type(gate).__name__ for gate in gates})


def _started(session: Session, workers: Sequence[Worker]) -> set[TaskId]:
    """What the live executors start, turn after turn, until none finds anything more."""
    now = session.now()
    started: set[TaskId] = set()
    while found := {id for worker in workers if worker.is_alive for id in worker.take_turn(session)}:
        assert not found & started, "a task was started twice"
        started |= found
    assert session.now() - now < HOUR / 2
    return started


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])
def test_a_turn_starts_exactly_what_is_said_to_be_runnable(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store = connect_store(store_url(kind, request, tmp_path))
    trial = Trial(store)

    @settings(max_examples=EXAMPLES[kind] * int(os.environ.get("MILEPOST_SOAK", "1")))
    @given(situations())
    def compare(situation: Situation) -> None:
        for task in situation.tasks:  # as if it were the only one that could start
            trial.compare(situation.around(task), [task.id])
        trial.compare(situation.with_room(), [task.id for task in situation.tasks])

    try:
        for situation in PLANTED.values():
            trial.compare(situation, [situation.tasks[0].id])
        compare()
    finally:
        store.close()
    assert trial.seen["runnable"] >= RUNNABLE_MIN
    # What never happens is not shown.
    assert {gate.__name__ for gate in get_args(Gate)} <= set(trial.seen)
