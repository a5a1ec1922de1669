"""Two callers at one task, in every order: nothing of either is lost, and no task runs twice.

What both leave behind is what they would have left one after the other, in one of the two orders. Each race is run with
either of the two stopped in the middle (`racing.Point`), twenty times in each order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias, final

import attrs
import pytest
from attrs import frozen
from returns.pipeline import is_successful

from milepost import (
    BlockingClient,
    KeyTaken,
    OnConflict,
    Retention,
    Store,
    Success,
    TaskId,
    TaskQuery,
    TaskRecord,
    TaskResult,
    WrongState,
    task,
)
from milepost.executor.claiming import Demand
from milepost.executor.turn import Delivery, TurnPlan, deliver, take_turn
from milepost.ids import new_id
from milepost.lifecycle import events
from milepost.lifecycle.events import Event
from milepost.lifecycle.transition import Policy
from milepost.payload import JsonText
from milepost.stores.open import connect_store
from milepost.stores.protocol import ClaimOrder, Session
from milepost.testing.conformance.kit import HOUR, sample, sample_lease
from tests.database import store_url
from tests.reliability.racing import Call, Finish, Point, Track, Verb, processes, threads

pytestmark = pytest.mark.slow

ROUNDS: Final = 20 * int(os.environ.get("MILEPOST_SOAK", "1"))
WRITE, COMMIT, BETWEEN = Point.WRITE, Point.COMMIT, Point.BETWEEN


# What the two sides do


def claim(store: Store, executor: str, queue: str) -> str:
    """One turn of an executor with a free slot."""
    plan = TurnPlan(
        executor=executor,
        names={"send": 1},
        policies={"send": Policy()},
        demand=Demand(1, {queue: 1}),
        lease_seconds=3_600,
        renew=True,
    )
    receipt = store.transact_blocking(partial(take_turn, plan=plan))
    return (
        " ".join(["claimed" for _ in receipt.claimed] + [ended.after.state.value for ended in receipt.ended]) or "none"
    )


def hand_in(store: Store, record: TaskRecord, event: Event) -> str:
    """What an executor does with what its run has handed in."""
    delivery = Delivery(record, event, Policy())
    (after,) = store.transact_blocking(lambda session: deliver(session, [delivery], now=session.now()))
    return "lost" if after is None else "stored"


def renew(store: Store, executor: str, id: TaskId) -> str:
    """A turn that only keeps the lease and looks for cancels, whether there is one of this task."""
    plan = TurnPlan(executor=executor, names={}, policies={}, lease_seconds=7_200, renew=True)
    receipt = store.transact_blocking(partial(take_turn, plan=plan))
    return f"alive {receipt.lease_alive}, asked {any(each.id == id for each in receipt.cancel_requests)}"


def cancel(store: Store, id: TaskId) -> str:
    return _state(BlockingClient(store).cancel(id, reason="enough"))


def proceed(store: Store, id: TaskId) -> str:
    return _state(BlockingClient(store).proceed(id))


def proceed_found(store: Store, id: TaskId) -> str:
    return _state(BlockingClient(store).proceed(TaskQuery().with_id(id)))


def proceed_further(store: Store, id: TaskId) -> str:
    return _state(BlockingClient(store).proceed(id, modify=lambda page: page + 1))


def requeue(store: Store, id: TaskId) -> str:
    return _state(BlockingClient(store).requeue(id))


def delete(store: Store, id: TaskId) -> str:
    return _state(BlockingClient(store).delete(id))


def prune(store: Store) -> str:
    """What a retention of no time at all removes."""
    return f"removed {BlockingClient(store).prune(Retention(completed=timedelta(0))).completed}"


def pause(store: Store, queue: str) -> str:
    return f"paused {BlockingClient(store).pause_queue(queue).is_paused}"


def _state(answer: Any) -> str:
    if is_successful(answer):
        return str(answer.unwrap().state.value)
    refusal = answer.failure()
    return f"refused, {refusal.state.value}" if isinstance(refusal, WrongState) else type(refusal).__name__


# What they do it to


@final
@frozen
class Scene:
    """A task, and the queue that it has for itself."""

    store: Store
    queue: str
    record: TaskRecord

    @property
    def id(self) -> TaskId:
        return self.record.id

    def left(self) -> str:
        """What there is of the task: everything that a lost update or a second run would change."""
        record = BlockingClient(self.store).get(self.id)
        if not is_successful(record):
            return "nothing"
        now = record.unwrap()
        kinds = [event.kind.value for event in BlockingClient(self.store).history(self.id)]
        asked = ", asked to end" if now.cancel_requested_at is not None else ""
        return f"{self._stands(now)}, fence {now.fence}, sequence {now.sequence}{asked}: {', '.join(kinds)}"

    def _stands(self, record: TaskRecord) -> str:
        # A proceed that was heard while a run suspends lets it go on a moment later: it is due, whatever its state.
        is_due = record.due_at is not None and record.due_at <= self.store.read_blocking(lambda session: session.now())
        return "due" if is_due else record.state.value


def waiting(store: Store) -> Scene:
    queue = new_id()

    def insert(session: Session) -> TaskRecord:
        now = session.now()
        record = sample(1, id=TaskId(new_id()), queue=queue, created_at=now, due_at=now)
        session.insert([record])
        return record

    return Scene(store, queue, store.transact_blocking(insert))


def running(store: Store, executor: str = "ada") -> Scene:
    scene = waiting(store)
    order = ClaimOrder(executor, scene.queue, {"send": 1}, 1)
    (claimed,) = store.transact_blocking(lambda session: session.claim(order, now=session.now()))
    return attrs.evolve(scene, record=claimed)


def suspended(store: Store) -> Scene:
    return _after(running(store), events.Suspended(JsonText("1")))


def completed(store: Store) -> Scene:
    return _after(running(store), events.Succeeded(JsonText("1")))


def _after(scene: Scene, event: Event) -> Scene:
    hand_in(scene.store, scene.record, event)
    return attrs.evolve(scene, record=BlockingClient(scene.store).get(scene.id).unwrap())


# The races

Outcome: TypeAlias = tuple[str, str, str]
"""Both answers, and what is left."""


@final
@frozen
class Racer:
    """One of two: what it does, where it can be stopped, and what is true once it was the first."""

    verb: Verb
    args: Callable[[Scene], tuple[Any, ...]]
    points: tuple[Point, ...]


@final
@frozen
class Race:
    """Two racers at a scene. `if_one_first` is what they answer and leave when the first named comes first.

    `if_passed_by` is what comes of it when a claim goes past a row that the other one is just writing. With `excludes`,
    whoever comes second waits for the end of the first one's transaction, so that its answer holds from then on.
    """

    scene: Callable[[Store], Scene]
    one: Racer
    other: Racer
    if_one_first: Outcome
    if_other_first: Outcome
    if_passed_by: Outcome | None = None
    left: Callable[[Scene], str] = Scene.left
    excludes: bool = False


def claiming(executor: str) -> Racer:
    return Racer(claim, lambda scene: (executor, scene.queue), (COMMIT,))


def handing_in(event: Event) -> Racer:
    return Racer(hand_in, lambda scene: (scene.record, event), (WRITE, COMMIT))


def asking(verb: Verb, *points: Point) -> Racer:
    return Racer(verb, lambda scene: (scene.id,), points or (WRITE, COMMIT))


RENEWING = Racer(renew, lambda scene: (scene.record.executor, scene.id), (WRITE, COMMIT))
SUSPENDING = handing_in(events.Suspended(JsonText("1")))
SUCCEEDING = handing_in(events.Succeeded(JsonText("1")))
COMMITTING = handing_in(events.Committed(JsonText("1")))
CANCELLING = asking(cancel)

RACES: dict[str, Race] = {
    "claim and claim": Race(
        waiting,
        claiming("ada"),
        claiming("bob"),
        ("claimed", "none", "running, fence 1, sequence 0: enqueued, claimed"),
        ("none", "claimed", "running, fence 1, sequence 0: enqueued, claimed"),
    ),
    "takeover and settle": Race(
        partial(running, executor="late"),
        claiming("bob"),
        SUCCEEDING,
        ("claimed", "lost", "running, fence 2, sequence 0: enqueued, claimed, reclaimed"),
        ("none", "stored", "completed, fence 1, sequence 0: enqueued, claimed, completed"),
    ),
    "takeover and commit": Race(
        partial(running, executor="late"),
        claiming("bob"),
        COMMITTING,
        ("claimed", "lost", "running, fence 2, sequence 0: enqueued, claimed, reclaimed"),
        ("claimed", "stored", "running, fence 2, sequence 1: enqueued, claimed, reclaimed"),
        if_passed_by=("none", "stored", "running, fence 1, sequence 1: enqueued, claimed"),
    ),
    "cancel and settle": Race(
        running,
        CANCELLING,
        SUCCEEDING,
        (
            "running",
            "stored",
            "completed, fence 1, sequence 0, asked to end: enqueued, claimed, cancel requested, completed",
        ),
        (
            "refused, completed",
            "stored",
            "completed, fence 1, sequence 0: enqueued, claimed, completed",
        ),
    ),
    "cancel and suspend": Race(
        running,
        CANCELLING,
        SUSPENDING,
        (
            "running",
            "stored",
            "cancelled, fence 1, sequence 1, asked to end: enqueued, claimed, cancel requested, cancelled",
        ),
        ("cancelled", "stored", "cancelled, fence 2, sequence 1: enqueued, claimed, suspended, cancelled"),
    ),
    "cancel and claim": Race(
        waiting,
        CANCELLING,
        claiming("ada"),
        ("cancelled", "none", "cancelled, fence 1, sequence 0: enqueued, cancelled"),
        (
            "running",
            "claimed",
            "running, fence 1, sequence 0, asked to end: enqueued, claimed, cancel requested",
        ),
    ),
    "cancel and commit": Race(
        running,
        CANCELLING,
        COMMITTING,
        ("running", "stored", "running, fence 1, sequence 1, asked to end: enqueued, claimed, cancel requested"),
        ("running", "stored", "running, fence 1, sequence 1, asked to end: enqueued, claimed, cancel requested"),
    ),
    "cancel and renew": Race(
        running,
        CANCELLING,
        RENEWING,
        ("running", "alive True, asked True", "then: alive True, asked True"),
        ("running", "alive True, asked False", "then: alive True, asked True"),
        left=lambda scene: f"then: {renew(scene.store, 'ada', scene.id)}",
    ),
    "cancel and cancel": Race(
        waiting,
        CANCELLING,
        CANCELLING,
        (
            "cancelled",
            "refused, cancelled",
            "cancelled, fence 1, sequence 0: enqueued, cancelled",
        ),
        (
            "refused, cancelled",
            "cancelled",
            "cancelled, fence 1, sequence 0: enqueued, cancelled",
        ),
    ),
    "proceed and suspend": Race(
        running,
        asking(proceed),
        SUSPENDING,
        ("running", "stored", "due, fence 1, sequence 1: enqueued, claimed, proceed kept, suspended, proceeded"),
        ("pending", "stored", "due, fence 1, sequence 1: enqueued, claimed, suspended, proceeded"),
    ),
    "proceed and succeed": Race(
        running,
        asking(proceed),
        SUCCEEDING,
        (
            "running",
            "stored",
            "completed, fence 1, sequence 0: enqueued, claimed, proceed kept, completed, proceed dropped",
        ),
        ("refused, completed", "stored", "completed, fence 1, sequence 0: enqueued, claimed, completed"),
    ),
    "proceed and proceed": Race(
        suspended,
        asking(proceed),
        asking(proceed_found, WRITE, COMMIT, BETWEEN),
        ("pending", "pending", "due, fence 1, sequence 1: enqueued, claimed, suspended, proceeded, proceed kept"),
        ("pending", "pending", "due, fence 1, sequence 1: enqueued, claimed, suspended, proceeded, proceed kept"),
    ),
    "proceed and proceed, each one further": Race(
        suspended,
        asking(proceed_further, WRITE, COMMIT, BETWEEN),
        asking(proceed_further, WRITE, COMMIT, BETWEEN),
        ("pending", "refused, pending", "2"),
        ("refused, pending", "pending", "2"),
        left=lambda scene: BlockingClient(scene.store).get(scene.id).unwrap().execution_metadata_json,
    ),
    "proceed and cancel": Race(
        suspended,
        asking(proceed_found, WRITE, COMMIT, BETWEEN),
        CANCELLING,
        ("pending", "cancelled", "cancelled, fence 2, sequence 1: enqueued, claimed, suspended, proceeded, cancelled"),
        ("TaskNotFound", "cancelled", "cancelled, fence 2, sequence 1: enqueued, claimed, suspended, cancelled"),
    ),
    "pause and claim": Race(
        waiting,
        Racer(pause, lambda scene: (scene.queue,), (WRITE, COMMIT)),
        claiming("ada"),
        ("paused True", "none", "due, fence 0, sequence 0: enqueued"),
        ("paused True", "claimed", "running, fence 1, sequence 0: enqueued, claimed"),
        excludes=True,
    ),
    "requeue and requeue": Race(
        completed,
        asking(requeue),
        asking(requeue),
        (
            "pending",
            "refused, pending",
            "due, fence 1, sequence 0: enqueued, claimed, completed, requeued",
        ),
        (
            "refused, pending",
            "pending",
            "due, fence 1, sequence 0: enqueued, claimed, completed, requeued",
        ),
    ),
    "requeue and prune": Race(
        completed,
        asking(requeue),
        Racer(prune, lambda _: (), (WRITE, COMMIT, BETWEEN)),
        (
            "pending",
            "removed 0",
            "due, fence 1, sequence 0: enqueued, claimed, completed, requeued",
        ),
        ("TaskNotFound", "removed 1", "nothing"),
    ),
    "requeue and delete": Race(
        completed,
        asking(requeue),
        asking(delete),
        ("pending", "pending", "nothing"),
        ("TaskNotFound", "completed", "nothing"),
    ),
}


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return store_url(request.param, request, tmp_path)


@pytest.mark.parametrize("name", RACES)
def test_whoever_comes_first_both_are_heard(name: str, url: str) -> None:
    race = RACES[name]
    with opened(url) as store, threads(url) as track:
        store.transact_blocking(announce)
        for swapped in (False, True):
            scene = race.scene(store)
            first, second = calls(race, scene, swapped=swapped)
            finish = track.one_after_the_other(first, second)
            assert told(race, finish, scene, swapped=swapped) == first_come(race, swapped=swapped)
        for swapped in (False, True):
            for number in range(ROUNDS):
                run_round(race, track, race.scene(store), number, swapped=swapped)


def run_round(race: Race, track: Track, scene: Scene, number: int, *, swapped: bool) -> None:
    sqlite = scene.store.url.startswith("sqlite")
    points = (race.other if swapped else race.one).points
    point = points[number % len(points)]
    first, second = calls(race, scene, swapped=swapped)
    finish = track.race(first, second, point)
    outcome = told(race, finish, scene, swapped=swapped)
    if finish.waited:
        assert outcome == first_come(race, swapped=swapped), (point, finish)
    else:
        # The second came to its end while the first stood still: it saw nothing of the first, or went past it.
        assert outcome in (race.if_one_first, race.if_other_first, race.if_passed_by), (point, finish)
    excludes = sqlite or (race.excludes and point is COMMIT)  # SQLite has one writer at a time
    assert finish.waited or point is BETWEEN or not excludes, (point, finish)


def calls(race: Race, scene: Scene, *, swapped: bool) -> tuple[Call, Call]:
    one, other = (Call(racer.verb, racer.args(scene)) for racer in (race.one, race.other))
    return (other, one) if swapped else (one, other)


def told(race: Race, finish: Finish, scene: Scene, *, swapped: bool) -> Outcome:
    one, other = (finish.second, finish.first) if swapped else (finish.first, finish.second)
    return one, other, race.left(scene)


def first_come(race: Race, *, swapped: bool) -> Outcome:
    return race.if_other_first if swapped else race.if_one_first


def announce(session: Session) -> None:
    """The executors whose leases hold; others that own a task count as dead."""
    for executor in ("ada", "bob"):
        session.open_lease(sample_lease(executor, session.now() + HOUR))


@contextmanager
def opened(url: str) -> Generator[Store]:
    store = connect_store(url)
    try:
        yield store
    finally:
        store.close()


# One key, two processes


@task
def send(metadata: int, progress: int) -> TaskResult[int, str]:
    return Success.with_result(metadata).for_error(str)


def enqueue(store: Store, key: str, on_conflict: OnConflict) -> str:
    """Ask for the key's task: it is `created`, somebody else's is `joined`, or it is `refused` for somebody else's."""
    request = send.with_metadata(1).with_execution_metadata(0).with_key(key, on_conflict)
    answer = BlockingClient(store).try_enqueue(request)
    if is_successful(answer):
        handle = answer.unwrap()
        return f"{'created' if handle.created else 'joined'} {handle.id}"
    refusal = answer.failure()
    assert isinstance(refusal, KeyTaken)
    return f"refused {refusal.holder}"


@pytest.mark.parametrize("on_conflict", OnConflict)
def test_a_key_that_two_processes_want_at_once_has_one_live_task(on_conflict: OnConflict, url: str) -> None:
    with opened(url) as store, processes(url) as track:
        client = BlockingClient(store)
        for number in range(ROUNDS):
            key = f"key {number}"
            call = Call(enqueue, (key, on_conflict))
            finish = (
                track.one_after_the_other(call, call) if number == 0 else track.race(call, call, _POINTS[number % 2])
            )
            query = TaskQuery().with_key(key)
            live = [record.id for record in client.search(query.live()).records]
            ids = [record.id for record in client.search(query).records]
            if on_conflict is OnConflict.REPLACE:
                # Both came in, one after the other, and the later one has put an end to the earlier one.
                created = [finish.first.removeprefix("created "), finish.second.removeprefix("created ")]
                assert sorted(created) == ids
                assert live == [created[1]]
            else:
                refusal = "joined" if on_conflict is OnConflict.KEEP else "refused"
                assert sorted([finish.first, finish.second]) == [f"created {ids[0]}", f"{refusal} {ids[0]}"]
                assert live == ids
                assert len(ids) == 1


_POINTS = (WRITE, COMMIT)
