"""Schedules and named events on PostgreSQL: two who come at once, and how much of a full table is read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import attrs
import pytest
from psycopg import sql

from milepost.errors import StoreError
from milepost.lifecycle import events
from milepost.lifecycle.events import Event
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.payload import JsonText
from milepost.schedules.standing import ScheduleState
from milepost.stores import events as sending
from milepost.stores import flow
from milepost.stores.events import SentTo
from milepost.stores.flow_tables import ScheduleRow, SentEvent
from milepost.stores.postgres.session import PostgresSession
from milepost.testing.conformance.kit import HOUR, NOW, SECOND, decided, numbers, sample, task_id
from tests.stores.test_postgres import SCHEMA, Place, each_place, explained, nodes, place

__all__ = ["each_place", "explained", "place"]

Explained = list[tuple[str, dict[str, Any]]]

KEYS = [("paid", f"order {n}") for n in range(50)]
EVENT = SentEvent("paid", "order 7", "a", JsonText("1"), NOW, NOW + HOUR)
STATE = ScheduleState(counted_from=NOW, handled_until=NOW, next_at=NOW + HOUR)
ROWS = 1_000


def row(key: str, **changes: Any) -> ScheduleRow:
    plain = ScheduleRow(
        key=key, name="send", terms_json=JsonText("{}"), request_json=JsonText("null"), state=STATE, due_at=NOW
    )
    return attrs.evolve(plain, **changes)


def scheduled(place: Place, *rows: ScheduleRow) -> None:
    with place.committed() as session:
        for each in rows:
            assert session.schedules.insert(each)


def due(session: PostgresSession, limit: int = 100) -> list[str]:
    return [each.key for each in session.schedules.due(now=NOW, limit=limit)]


def waiting(n: int, **changes: Any) -> TaskRecord:
    waits = {"state": TaskState.SUSPENDED, "due_at": None, "awaited_event": "paid", "awaited_key": "order 7"}
    return sample(n, **{**waits, **changes})


def test_who_fires_passes_over_schedules_that_another_fires_and_waits_for_nobody(place: Place) -> None:
    scheduled(place, *map(row, "abcd"))
    first, second = place.session(), place.session()
    assert due(first, limit=2) == ["a", "b"]
    assert due(second) == ["c", "d"]
    first.connection.rollback()
    second.connection.commit()
    assert due(place.session()) == ["a", "b", "c", "d"]


def test_who_fires_passes_over_a_schedule_whose_latest_task_somebody_is_at(place: Place) -> None:
    place.insert(sample(1), sample(2))
    scheduled(place, row("a", latest_task=task_id(1)), row("b", latest_task=task_id(2)), row("c", latest_task=None))
    scheduled(place, row("d", latest_task=TaskId("deleted")))
    ending, firing = place.session(), place.session()
    ending.get([task_id(1)])
    assert due(firing) == ["b", "c", "d"]
    ending.connection.commit()
    firing.connection.commit()
    assert due(place.session()) == ["a", "b", "c", "d"]


def test_who_ends_a_task_waits_for_who_decides_whether_to_queue_behind_it(place: Place) -> None:
    place.insert(sample(1))
    scheduled(place, row("a", latest_task=task_id(1)))
    firing, ending = place.session(), place.session()
    (found,) = firing.schedules.due(now=NOW, limit=1)
    answer = place.blocked(ending, lambda session: session.get([task_id(1)]))
    assert firing.schedules.write(attrs.evolve(found, state=attrs.evolve(STATE, queued_at=NOW), due_at=None))
    firing.connection.commit()
    assert numbers(answer()) == [1]
    ending.schedules.wake(["a"], now=NOW)
    ending.connection.commit()
    assert due(place.session()) == ["a"]


def test_a_wake_up_sees_what_is_queued_while_it_waits(place: Place) -> None:
    scheduled(place, row("a"), row("b"))
    firing, ending = place.session(), place.session()
    for found in firing.schedules.due(now=NOW, limit=2):
        queued_at = NOW if found.key == "a" else None
        assert firing.schedules.write(attrs.evolve(found, state=attrs.evolve(STATE, queued_at=queued_at), due_at=None))
    answer = place.blocked(ending, lambda session: session.schedules.wake(["b", "a"], now=NOW))
    firing.connection.commit()
    answer()
    ending.connection.commit()
    assert due(place.session()) == ["a"]


def test_a_decision_from_before_a_wake_up_is_not_written(place: Place) -> None:
    scheduled(place, queued := row("a", state=attrs.evolve(STATE, queued_at=NOW), due_at=None))
    waking, writing = place.session(), place.session()
    waking.schedules.wake(["a"], now=NOW)
    answer = place.blocked(writing, lambda session: session.schedules.write(attrs.evolve(queued, error="stale")))
    waking.connection.commit()
    assert answer() is False


SUSPENDED: list[Event] = [events.Claimed("ada", "token"), events.Suspended(None, event="paid", key="order 7")]


def send(session: PostgresSession) -> SentTo:
    return sending.send(session, EVENT, is_named=False)


def suspend(session: PostgresSession) -> TaskRecord:
    """Write as an executor does that a running task begins to wait; the task as it is then."""
    (running,) = session.get([task_id(1)])
    assert flow.write(session, [decided(running, SUSPENDED[1])], now=NOW) == [True]
    return session.get([task_id(1)])[0]


def test_who_comes_to_wait_while_an_event_is_sent_has_it_at_once(place: Place) -> None:
    place.insert(decided(sample(1), SUSPENDED[0]).after)
    first, second = place.session(), place.session()
    assert send(first) == SentTo()
    answer = place.blocked(second, suspend)
    first.connection.commit()
    woken = answer()
    assert (woken.state, woken.received_json) == (TaskState.PENDING, EVENT.payload_json)


def test_an_event_that_is_sent_while_a_task_comes_to_wait_finds_it(place: Place) -> None:
    place.insert(decided(sample(1), SUSPENDED[0]).after)
    first, second = place.session(), place.session()
    assert suspend(first).state is TaskState.SUSPENDED
    answer = place.blocked(second, send)
    first.connection.commit()
    assert answer() == SentTo((task_id(1),))
    second.connection.commit()
    assert place.get(1)[0].received_json == EVENT.payload_json


def test_of_two_who_come_to_wait_at_once_one_has_the_event(place: Place) -> None:
    place.insert(*(decided(sample(n), SUSPENDED[0]).after for n in (1, 2)))
    with place.committed() as session:
        send(session)
    first, second = place.session(), place.session()
    assert suspend(first).state is TaskState.PENDING
    (other,) = place.get(2)
    answer = place.blocked(second, lambda session: flow.write(session, [decided(other, SUSPENDED[1])], now=NOW))
    first.connection.commit()
    assert answer() == [True]
    second.connection.commit()
    assert [each.state for each in place.get(1, 2)] == [TaskState.PENDING, TaskState.SUSPENDED]


def test_of_two_who_send_an_event_under_one_id_at_once_one_wakes_who_waits(place: Place) -> None:
    place.insert(waiting(1))
    first, second = place.session(), place.session()
    assert sending.send(first, EVENT, is_named=True) == SentTo((task_id(1),))
    answer = place.blocked(second, lambda session: sending.send(session, EVENT, is_named=True))
    first.connection.commit()
    assert answer() == SentTo(repeated=True)


def test_who_sends_does_not_wake_what_was_woken_while_it_waited(place: Place) -> None:
    place.insert(waiting(1), waiting(2))
    cancelling, sending = place.session(), place.session()
    cancelling.get([task_id(1)])
    cancelling.delete([task_id(1)])
    answer = place.blocked(sending, lambda session: session.events.waiting(*KEYS[7]))
    cancelling.connection.commit()
    assert numbers(answer()) == [2]


def test_events_are_locked_in_one_order_so_that_two_who_want_the_same_do_not_deadlock(place: Place) -> None:
    first, second = place.session(), place.session()
    first.events.lock(KEYS)
    answer = place.blocked(second, lambda session: session.events.lock(KEYS[::-1]))
    first.connection.commit()
    answer()


def test_those_who_wait_are_locked_in_the_order_of_their_ids(place: Place) -> None:
    place.insert(*map(waiting, (4, 2, 3, 1)))
    holding, asking = place.session(), place.session()
    holding.get([task_id(2)])
    answer = place.blocked(asking, lambda session: session.events.waiting(*KEYS[7]))
    free = sql.SQL("select id from {} for update skip locked").format(sql.Identifier(SCHEMA, "milepost_task"))
    assert sorted(place.watcher.execute(free).fetchall()) == [(task_id(3),), (task_id(4),)]
    holding.connection.rollback()
    assert numbers(answer()) == [1, 2, 3, 4]


def test_more_events_than_a_server_has_locks_are_locked_in_one_call(place: Place) -> None:
    with place.committed() as session:
        session.events.lock([("paid", f"order {n}") for n in range(20_000)])


_BAD: dict[str, Callable[[PostgresSession, str], object]] = {
    "get": lambda session, bad: session.schedules.get([bad]),
    "insert": lambda session, bad: session.schedules.insert(row(bad)),
    "write": lambda session, bad: session.schedules.write(row("a", error=bad)),
    "delete": lambda session, bad: session.schedules.delete([bad]),
    "wake": lambda session, bad: session.schedules.wake([bad], now=NOW),
    "known": lambda session, bad: session.events.is_known(attrs.evolve(EVENT, id=bad)),
    "keep": lambda session, bad: session.events.keep(attrs.evolve(EVENT, key=bad), delivered_at=None),
    "take": lambda session, bad: session.events.take("paid", bad, now=NOW),
    "waiting": lambda session, bad: session.events.waiting(bad, ""),
}


@pytest.mark.parametrize("verb", _BAD)
@pytest.mark.parametrize("bad", ["a\0b", "a\ud800b"])
def test_text_that_cannot_be_stored_is_a_store_error(place: Place, verb: str, bad: str) -> None:
    with pytest.raises(StoreError):
        _BAD[verb](place.session(), bad)


@pytest.fixture
def full(each_place: Place) -> PostgresSession:
    """A session on full tables, of which a handful of rows is asked for."""
    session = each_place.session()
    session.insert([waiting(0), waiting(1), *(waiting(n, awaited_key=str(n)) for n in range(2, ROWS))])
    for n in range(ROWS):
        session.schedules.insert(row(str(n), due_at=NOW if n < 2 else NOW + HOUR))
        key = EVENT.key if n < 2 else str(n)
        session.events.keep(attrs.evolve(EVENT, id=str(n), key=key), delivered_at=NOW if n % 3 == 2 else None)
    return session


@pytest.mark.slow
def test_schedules_and_events_are_reached_by_indexes(full: PostgresSession, explained: Explained) -> None:
    found = full.schedules.due(now=NOW, limit=10)
    assert [each.key for each in found] == ["0", "1"]
    assert full.schedules.next_due() == NOW
    assert list(full.schedules.get(["1", "7"])) == ["1", "7"]
    assert full.schedules.write(found[0])
    full.schedules.wake(["7"], now=NOW)
    assert full.schedules.delete(["8"]) == ["8"]
    assert full.events.is_known(EVENT) is False
    assert full.events.take(*KEYS[7], now=NOW) == attrs.evolve(EVENT, id="0")
    full.events.keep(EVENT, delivered_at=NOW)
    assert numbers(full.events.waiting(*KEYS[7])) == [0, 1]
    assert full.events.forget(before=NOW + HOUR + SECOND, limit=5) == 5
    assert len(full.events.copy_out(0, limit=5)) == 5
    assert len({name for name, _ in explained}) == 12
    for name, plan in explained:
        assert all(node["Node Type"] != "Seq Scan" for node in nodes(plan)), f"{name} scans a table"
        assert max(node["Actual Rows"] * node["Actual Loops"] for node in nodes(plan)) <= 10, f"{name} reads too much"


def test_an_event_that_is_kept_to_the_microsecond_comes_back_so(place: Place) -> None:
    precise = attrs.evolve(EVENT, sent_at=NOW + timedelta(microseconds=1))
    with place.committed() as session:
        session.events.keep(precise, delivered_at=None)
    assert place.session().events.take(*KEYS[7], now=NOW) == precise
