"""Ends of children against each other, against requeues, and against who takes children over: in both orders."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from milepost.lifecycle.change import Transition
from milepost.lifecycle.children import ChildCount
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.lifecycle.ties import Join, Tie
from milepost.stores.postgres.session import PostgresSession
from milepost.testing.conformance.kit import NOW, sample, samples, task_id
from tests.stores.test_postgres import Place

PARENT, HEIR = task_id(1), task_id(9)


@pytest.fixture
def place(postgres_url: str) -> Generator[Place]:
    """A parent that waits for the tasks 2 and 3, and one that may take them over."""
    with ExitStack() as closing:
        place = Place(postgres_url, closing)
        waiting: dict[str, Any] = {"state": TaskState.SUSPENDED, "due_at": None, "join": Join.ALL_FINISHED}
        place.insert(sample(1, **waiting), sample(9, **waiting), *samples(2, 3, ties=Tie.AWAITED))
        with place.committed() as session:
            session.joins.put(PARENT, [task_id(2), task_id(3)])
        yield place


def end(session: PostgresSession, *numbers: int) -> list[TaskId]:
    """End tasks that have not ended, and keep their ends."""
    records = session.get([task_id(n) for n in numbers])
    changes = [changed(each, state=TaskState.CANCELLED, due_at=None, finished_at=NOW) for each in records]
    session.write(changes)
    return session.joins.end([change.after for change in changes])


def ended(place: Place, *numbers: int) -> None:
    """End tasks before anything else happens."""
    with place.committed() as session:
        end(session, *numbers)


def wake(session: PostgresSession) -> set[TaskId]:
    """Let the parent go on if it waits for nobody any more; gives for whom it waits still."""
    records = session.get([PARENT])
    unfinished = session.joins.unfinished([PARENT])
    if not unfinished:
        session.write([changed(each, state=TaskState.PENDING, due_at=NOW) for each in records])
    return unfinished


def changed(record: TaskRecord, **changes: Any) -> Transition:
    return Transition(record, record.changed({**changes, "revision": record.revision + 1}), ())


def count(place: Place, parent: TaskId) -> ChildCount | None:
    return place.session(reads_only=True).joins.counts([parent]).get(parent)


def reopening(*numbers: int) -> Callable[[PostgresSession], None]:
    return lambda session: session.joins.reopen([task_id(n) for n in numbers])


def handing_over(session: PostgresSession) -> bool:
    return session.joins.hand_over(PARENT, HEIR)


def ending(*numbers: int) -> Callable[[PostgresSession], Sequence[TaskId]]:
    return lambda session: end(session, *numbers)


def test_of_two_who_end_the_last_two_children_the_second_sees_both_ends(place: Place) -> None:
    first, second = place.session(), place.session()
    assert end(first, 2) == end(second, 3) == [PARENT]
    assert wake(first) == {PARENT}
    answer = place.blocked(second, wake)
    first.connection.commit()
    assert answer() == set()
    second.connection.commit()
    assert place.get(1)[0].state is TaskState.PENDING


def test_an_end_that_comes_while_children_are_handed_over_is_kept_for_the_heir_too(place: Place) -> None:
    handing, other = place.session(), place.session()
    assert handing_over(handing) is True
    answer = place.blocked(other, ending(2))
    handing.connection.commit()
    assert answer() == [PARENT, HEIR]
    other.connection.commit()
    assert count(place, HEIR) == count(place, PARENT) == ChildCount(unfinished=1, cancelled=1)


def test_children_that_are_handed_over_while_one_ends_come_with_its_end(place: Place) -> None:
    ended(place, 3)
    first, handing = place.session(), place.session()
    assert end(first, 2) == [PARENT]
    answer = place.blocked(handing, handing_over)
    first.connection.commit()
    assert answer() is False
    handing.connection.commit()
    assert count(place, HEIR) == ChildCount(cancelled=2)


def test_a_child_that_is_opened_again_while_the_last_one_ends_finds_the_parent_gone_on(place: Place) -> None:
    ended(place, 2)
    first, opening = place.session(), place.session()
    end(first, 3)
    assert wake(first) == set()
    answer = place.blocked(opening, reopening(2))
    first.connection.commit()
    answer()
    opening.connection.commit()
    assert count(place, PARENT) == ChildCount(cancelled=2)


def test_who_ends_the_last_child_while_another_is_opened_again_lets_the_parent_wait(place: Place) -> None:
    ended(place, 2)
    opening, last = place.session(), place.session()
    reopening(2)(opening)
    assert end(last, 3) == [PARENT]
    answer = place.blocked(last, wake)
    opening.connection.commit()
    assert answer() == {PARENT}


def test_a_parent_that_is_deleted_while_a_child_ends_leaves_nothing(place: Place) -> None:
    first, deleting = place.session(), place.session()
    assert end(first, 2) == [PARENT]
    answer = place.blocked(deleting, lambda session: session.delete([PARENT]))
    first.connection.commit()
    assert answer() == 1
    deleting.connection.commit()
    assert count(place, PARENT) is None


def test_the_end_of_a_child_whose_parent_is_being_deleted_is_kept_for_nobody(place: Place) -> None:
    deleting, other = place.session(), place.session()
    assert deleting.delete([PARENT]) == 1
    answer = place.blocked(other, ending(2))
    deleting.connection.commit()
    assert answer() == []
    other.connection.commit()
    assert count(place, PARENT) is None


def test_two_who_end_many_children_of_one_parent_do_not_wait_for_each_other(place: Place) -> None:
    children = range(100, 200)
    place.insert(*samples(*children, ties=Tie.AWAITED))
    with place.committed() as session:
        session.joins.put(PARENT, [task_id(n) for n in children])
    first, second = place.session(), place.session()
    assert end(first, *children[::2]) == end(second, *children[:0:-2]) == [PARENT]
    first.connection.commit()
    second.connection.commit()
    assert count(place, PARENT) == ChildCount(cancelled=100)
