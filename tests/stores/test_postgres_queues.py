"""Pauses, limits and capacities of queues against claims and enqueues that are under way, in both orders."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack

import attrs
import pytest
from returns.result import Failure, Success

from milepost.lifecycle.draft import OnConflict
from milepost.lifecycle.queues import QueueChanges, QueueSettings
from milepost.lifecycle.refusals import QueueFull
from milepost.stores import operations, queues
from milepost.stores.postgres.session import PostgresSession
from milepost.testing.conformance.kit import NOW, numbers, samples
from tests.stores.test_postgres import BOB, ORDER, Place, draft

COUNTED = attrs.evolve(BOB, due_max=1)


@pytest.fixture
def place(postgres_url: str) -> Generator[Place]:
    with ExitStack() as closing:
        yield Place(postgres_url, closing)


def pause(session: PostgresSession) -> QueueSettings:
    return queues.pause_queue(session, "default", "")


def enqueue(session: PostgresSession, n: int) -> object:
    return operations.enqueue(session, [draft(n, OnConflict.KEEP, key=f"k{n}")])


def test_a_pause_waits_for_the_claims_under_way(place: Place) -> None:
    place.insert(*samples(1, 2))
    claiming, pausing = place.session(), place.session()
    assert numbers(claiming.claim(attrs.evolve(ORDER, limit=1), now=NOW)) == [1]
    answer = place.blocked(pausing, pause)
    claiming.connection.commit()
    assert answer().is_paused
    pausing.connection.commit()
    assert place.session().claim(BOB, now=NOW) == []


def test_a_claim_that_comes_during_a_pause_heeds_it_though_nothing_was_said_of_the_queue_before(place: Place) -> None:
    place.insert(*samples(1, 2))
    pausing, claiming = place.session(), place.session()
    pause(pausing)
    answer = place.blocked(claiming, lambda session: session.claim(ORDER, now=NOW))
    pausing.connection.commit()
    assert answer() == []


def test_a_claim_that_waited_for_a_pause_that_was_undone_takes_what_is_due(place: Place) -> None:
    place.insert(*samples(1, 2))
    pausing, claiming = place.session(), place.session()
    pause(pausing)
    answer = place.blocked(claiming, lambda session: session.claim(ORDER, now=NOW))
    pausing.connection.rollback()
    assert numbers(answer()) == [1, 2]


def test_claims_do_not_wait_for_each_other_nor_for_an_enqueue(place: Place) -> None:
    place.insert(*samples(1, 2))
    first, second, enqueuing = place.session(), place.session(), place.session()
    with place.committed() as session:
        queues.change_queue(session, "default", QueueChanges(weight=2, capacity=10))
    assert isinstance(enqueue(enqueuing, 9), Success)
    assert numbers(first.claim(attrs.evolve(ORDER, limit=1), now=NOW)) == [1]
    assert numbers(second.claim(BOB, now=NOW)) == [2]


def test_an_open_transaction_that_has_enqueued_keeps_no_pause_waiting(place: Place) -> None:
    with place.committed() as session:
        queues.change_queue(session, "default", QueueChanges(capacity=10))
    enqueuing, pausing = place.session(), place.session()
    assert isinstance(enqueue(enqueuing, 1), Success)
    assert pause(pausing).is_paused
    pausing.connection.commit()


def test_of_two_who_count_a_limited_queue_the_second_sees_what_the_first_has_claimed(place: Place) -> None:
    place.insert(*samples(1, 2))
    limited = QueueSettings(name="default", concurrency=1)
    with place.committed() as session:
        session.settings.put(limited)
    first, second = place.session(), place.session()
    assert first.settings.lock_running(["default"]) == {"default": limited}
    assert first.settings.running("default") == 0
    answer = place.blocked(second, lambda session: session.settings.lock_running(["default"]))
    assert numbers(first.claim(COUNTED, now=NOW)) == [1]
    first.connection.commit()
    assert answer() == {"default": limited}
    assert second.settings.running("default") == 1


def test_a_limit_that_is_lowered_waits_for_who_counts_by_the_old_one(place: Place) -> None:
    place.insert(*samples(1))
    with place.committed() as session:
        queues.change_queue(session, "default", QueueChanges(concurrency=5))
    counting, lowering = place.session(), place.session()
    counting.settings.lock_running(["default"])
    answer = place.blocked(lowering, lambda s: queues.change_queue(s, "default", QueueChanges(concurrency=1)))
    assert numbers(counting.claim(COUNTED, now=NOW)) == [1]
    counting.connection.commit()
    assert answer().concurrency == 1


def test_of_two_who_want_the_last_place_in_a_queue_the_second_is_refused(place: Place) -> None:
    with place.committed() as session:
        queues.change_queue(session, "default", QueueChanges(capacity=1))
    first, second = place.session(), place.session()
    assert isinstance(enqueue(first, 1), Success)
    answer = place.blocked(second, lambda session: enqueue(session, 2))
    first.connection.commit()
    assert answer() == Failure(QueueFull("default", 1))


def test_the_last_place_is_free_for_who_waited_when_the_first_gives_up(place: Place) -> None:
    with place.committed() as session:
        queues.change_queue(session, "default", QueueChanges(capacity=1))
    first, second = place.session(), place.session()
    assert isinstance(enqueue(first, 1), Success)
    answer = place.blocked(second, lambda session: enqueue(session, 2))
    first.connection.rollback()
    assert isinstance(answer(), Success)


def test_two_changes_at_once_are_both_kept(place: Place) -> None:
    first, second = place.session(), place.session()
    queues.change_queue(first, "default", QueueChanges(weight=7))
    answer = place.blocked(second, pause)
    first.connection.commit()
    assert (answer().weight, answer().is_paused) == (7, True)
