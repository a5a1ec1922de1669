"""Who fires and who ends the previous task, in every order: no instant fires twice, and no queued one is forgotten."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from milepost import Audit, Overlap, Schedule, Store, TaskRecord, every
from milepost.client import schedule_info
from milepost.ids import new_id
from milepost.lifecycle import events
from milepost.lifecycle.change import Transition
from milepost.lifecycle.transition import transition
from milepost.payload import JsonText
from milepost.stores import flow, schedules
from milepost.stores.filter import TaskFilter
from milepost.stores.firing import fire_due
from milepost.stores.flow_tables import ScheduleRow
from milepost.stores.open import connect_store
from milepost.stores.protocol import Session
from tests.database import store_url
from tests.executor.scheduled import REQUEST, at
from tests.reliability.racing import Call, Point, Track, threads

pytestmark = pytest.mark.slow

ROUNDS: Final = 5
HOUR: Final = timedelta(hours=1)
START: Final = datetime(2030, 1, 1, tzinfo=UTC)
ORDERS = [
    pytest.param(("look", "end"), Point.WRITE, id="looks, is about to write"),
    pytest.param(("look", "end"), Point.COMMIT, id="looks, is about to commit"),
    pytest.param(("end", "look"), Point.WRITE, id="ends, is about to write"),
    pytest.param(("end", "look"), Point.COMMIT, id="ends, is about to commit"),
]


def look(store: Store, moment: datetime) -> str:
    """What an executor does at `moment`."""
    return str(len(store.transact_blocking(lambda session: fire_due(session, now=moment))))


def end(store: Store, record: TaskRecord, moment: datetime) -> str:
    """What its executor does when the task has ended."""

    def ends(session: Session) -> bool:
        (now,) = session.get([record.id])
        decided = transition(now, events.Succeeded(JsonText("{}")), now=moment)
        assert isinstance(decided, Transition)
        return flow.write(session, [decided], now=moment) == [True]

    return str(store.transact_blocking(ends))


def pause(store: Store, key: str) -> str:
    """What a client does."""
    return str(store.transact_blocking(partial(schedules.pause, key=key)))


def tasks_of(store: Store, key: str) -> list[TaskRecord]:
    return store.read_blocking(lambda session: session.search(TaskFilter(schedules=(key,)), limit=100))


def row_of(store: Store, key: str) -> ScheduleRow:
    return store.read_blocking(lambda session: session.schedules.get([key])[key])


def forget(store: Store, key: str) -> None:
    store.transact_blocking(lambda session: session.schedules.delete([key]))


def scheduled(store: Store, overlap: Overlap) -> str:
    """An hourly schedule of its own, whose first task runs."""
    key = new_id()
    definition = schedule_info.definition_of(Schedule(key, REQUEST, every(HOUR), overlap=overlap), Audit.NONE).unwrap()
    store.transact_blocking(at(START, schedule_info.schedule(definition)))
    assert look(store, START + HOUR) == "1"

    def claim(session: Session) -> None:
        (record,) = session.search(TaskFilter(schedules=(key,)), limit=1)
        decided = transition(record, events.Claimed("ada", "token"), now=START + HOUR)
        assert isinstance(decided, Transition)
        assert session.write([decided]) == [True]

    store.transact_blocking(claim)
    return key


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return store_url(request.param, request, tmp_path)


@pytest.fixture
def store(url: str) -> Generator[Store]:
    opened = connect_store(url)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def track(url: str, store: Store) -> Generator[Track]:
    with threads(url) as opened:
        yield opened


@pytest.mark.parametrize("overlap", [Overlap.QUEUE, Overlap.CANCEL_PREVIOUS], ids=lambda overlap: overlap.name)
@pytest.mark.parametrize(("order", "point"), ORDERS)
def test_an_instant_is_not_lost_between_a_look_and_the_end_of_the_previous_task(
    store: Store, track: Track, overlap: Overlap, order: tuple[str, str], point: Point
) -> None:
    """At the very moment of the second instant. Whoever looks next fires it, if it was not fired already."""
    moment = START + 2 * HOUR
    for _ in range(ROUNDS):
        key = scheduled(store, overlap)
        (first,) = tasks_of(store, key)
        calls = {"look": Call(look, (moment,)), "end": Call(end, (first, moment))}
        finish = track.race(calls[order[0]], calls[order[1]], point)
        look(store, moment)
        assert [each.schedule_at for each in tasks_of(store, key)] == [START + HOUR, moment], finish
        forget(store, key)


@pytest.mark.parametrize("point", [Point.WRITE, Point.COMMIT], ids=lambda point: point.name)
def test_of_two_who_look_at_once_one_fires(store: Store, track: Track, point: Point) -> None:
    for number in range(ROUNDS):
        key = scheduled(store, Overlap.ALLOW)
        moment = START + 2 * HOUR
        finish = track.race(Call(look, (moment,)), Call(look, (moment,)), point)
        assert sorted([finish.first, finish.second]) == ["0", "1"], number
        assert len(tasks_of(store, key)) == 2
        forget(store, key)


@pytest.mark.parametrize("point", [Point.WRITE, Point.COMMIT], ids=lambda point: point.name)
@pytest.mark.parametrize("first", ["look", "pause"])
def test_a_pause_and_a_look_are_one_after_the_other(store: Store, track: Track, first: str, point: Point) -> None:
    """Each sees what the other has done, and neither undoes it."""
    moment = START + 2 * HOUR
    for _ in range(ROUNDS):
        key = scheduled(store, Overlap.ALLOW)
        calls = [Call(look, (moment,)), Call(pause, (key,))]
        if first == "pause":
            calls.reverse()
        track.race(calls[0], calls[1], point)
        row = row_of(store, key)
        assert row.state.paused_at is not None
        assert row.due_at is None
        assert row.state.runs == len(tasks_of(store, key)) in (1, 2)
        forget(store, key)
