"""Two executors at one limit, in every order: no share is given twice, and none is lost between an end and a wait."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from milepost import ConcurrencyLimit, RateLimit, Store, TaskRecord, TaskState
from milepost.executor.claiming import Demand
from milepost.executor.turn import Delivery, TurnPlan, take_turn
from milepost.ids import new_id
from milepost.lifecycle import events
from milepost.lifecycle.record import TaskId
from milepost.lifecycle.transition import Policy
from milepost.payload import JsonText
from milepost.stores.open import connect_store
from milepost.stores.protocol import Session
from milepost.testing.conformance.kit import HOUR, sample, sample_lease
from tests.database import store_url
from tests.reliability.racing import Call, Finish, Point, Track, threads

pytestmark = pytest.mark.slow

ROUNDS: Final = 10
ONE_AT_ONCE: Final = Policy(concurrency_limit=ConcurrencyLimit(1))
ONE_AN_HOUR: Final = Policy(rate_limit=RateLimit(1, HOUR))


def turn(store: Store, executor: str, queue: str, policy: Policy, ended: TaskRecord | None = None) -> str:
    """A turn with one free slot, that perhaps hands in the end of a run."""
    deliveries = [] if ended is None else [Delivery(ended, events.Succeeded(JsonText("1")), policy)]
    plan = TurnPlan(
        executor=executor,
        names={"send": 1},
        policies={"send": policy},
        deliveries=deliveries,
        demand=Demand(1, {queue: 1}) if ended is None else None,
        lease_seconds=3_600,
        renew=True,
    )
    receipt = store.transact_blocking(partial(take_turn, plan=plan))
    return "starts" if receipt.claimed else "waits" if receipt.limited else "nothing"


def enqueued(store: Store, queue: str, count: int) -> list[TaskId]:
    """Due tasks that share one key, which no other round has."""
    key = queue

    def insert(session: Session) -> list[TaskId]:
        now = session.now()
        keys = {"queue": queue, "rate_key": key, "concurrency_key": key}
        records = [sample(1, id=TaskId(new_id()), created_at=now, due_at=now, **keys) for _ in range(count)]
        session.insert(records)
        return [record.id for record in records]

    return store.transact_blocking(insert)


def running(store: Store, ids: list[TaskId]) -> list[TaskRecord]:
    records = store.read_blocking(lambda session: session.get(ids))
    return [record for record in records if record.state is TaskState.RUNNING]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return store_url(request.param, request, tmp_path)


@pytest.fixture
def store(url: str) -> Generator[Store]:
    opened = connect_store(url)
    try:
        for executor in ("ada", "bob"):
            opened.transact_blocking(partial(_announce, executor=executor))
        yield opened
    finally:
        opened.close()


@pytest.fixture
def track(url: str, store: Store) -> Generator[Track]:
    with threads(url) as opened:
        yield opened


def _announce(session: Session, executor: str) -> None:
    session.open_lease(sample_lease(executor, session.now() + HOUR))


@pytest.mark.parametrize("policy", [ONE_AT_ONCE, ONE_AN_HOUR], ids=["share", "start"])
@pytest.mark.parametrize("point", [Point.WRITE, Point.COMMIT], ids=lambda point: point.name)
def test_of_two_turns_that_claim_for_the_last_one_gets_it(
    store: Store, track: Track, policy: Policy, point: Point
) -> None:
    for _ in range(ROUNDS):
        queue = new_id()
        ids = enqueued(store, queue, 2)
        finish = track.race(Call(turn, ("ada", queue, policy)), Call(turn, ("bob", queue, policy)), point)
        assert sorted([finish.first, finish.second]) in (["starts", "waits"], ["nothing", "starts"])
        assert len(running(store, ids)) == 1


@pytest.mark.parametrize("order", ["end first", "wait first"])
def test_a_share_is_not_lost_between_an_end_and_a_wait(store: Store, track: Track, order: str) -> None:
    for _ in range(ROUNDS):
        queue = new_id()
        first, second = enqueued(store, queue, 2)
        assert turn(store, "ada", queue, ONE_AT_ONCE) == "starts"
        (record,) = running(store, [first, second])
        ending = Call(turn, ("ada", queue, ONE_AT_ONCE, record))
        claiming = Call(turn, ("bob", queue, ONE_AT_ONCE))
        calls = (ending, claiming) if order == "end first" else (claiming, ending)
        finish: Finish = track.race(*calls, Point.COMMIT)
        if "starts" not in (finish.first, finish.second):
            assert turn(store, "bob", queue, ONE_AT_ONCE) == "starts", f"nobody let the other one in: {finish}"
        assert len(running(store, [first, second])) == 1
