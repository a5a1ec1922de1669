"""Chains and sagas under a real executor on each store, undisturbed and cut off."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import frozen

from milepost import (
    Cancellation,
    Client,
    Crash,
    CrashKind,
    Empty,
    Failure,
    Retry,
    SagaFailed,
    SagaUndone,
    Store,
    Success,
    Task,
    TaskId,
    TaskQuery,
    TaskResult,
    TaskState,
    chain,
    open_executor,
    open_store,
    saga,
    task,
)
from tests.database import store_url
from tests.executor.kit import PATIENCE_SECONDS, MovableClock, quick, record_of, run, until_async, until_state
from tests.flows.kit import all_records, enqueued, until_all_ended
from tests.flows.test_chain import NoPage, counted, double
from tests.flows.trips import (
    Flight,
    Itinerary,
    NoMoney,
    NoRoom,
    Receipt,
    Room,
    Trip,
    book_flight,
    book_room,
    book_trip,
    cancel_flight,
    cancel_room,
)

pytestmark = pytest.mark.anyio

UNDOS = ("cancel-flight", "cancel-room", "return-car")


@task(name="half", retry=Retry.never())
def half(number: int, _: Empty) -> TaskResult[int, str]:
    if number == 0:
        raise ZeroDivisionError("nothing to halve")
    return Cancellation.with_error("odd") if number % 2 else Success.with_result(number // 2)


async def test_a_chain_hands_results_over_and_stops_at_the_first_that_is_no_success(store: Store) -> None:
    halves = chain(double, half, half, name="halves")
    found, missed, odd, broken = await run(
        store,
        [counted, halves],
        counted.with_metadata("a.org"),
        counted.with_metadata(""),
        halves.with_metadata(1),
        halves.with_metadata(0),
    )

    assert (found, missed, odd) == (
        Success.with_result(3),
        Failure.with_error(NoPage("")),
        Cancellation.with_error("odd"),
    )
    assert isinstance(broken, Failure)
    assert (broken.error.task, broken.error.crash.message) == ("half", "nothing to halve")
    assert (await record_of(store, broken.error.id)).state is TaskState.FAILED
    assert [name for name, _ in await enqueued(store, "fetch", "words", "count")].count("words") == 1


@pytest.mark.slow
async def test_a_chain_of_fifty_tasks_and_chains_in_chains_come_to_their_end(store: Store) -> None:
    fifty = chain(*[double] * 50, name="fifty")
    nested: Task[int, Any, int, Any] = double
    for depth in range(5):
        nested = chain(nested, double, name=f"nested-{depth}")

    assert await run(store, [fifty, nested], fifty.with_metadata(1), nested.with_metadata(1)) == [
        Success.with_result(2**50),
        Success.with_result(2**6),
    ]


async def test_a_failed_chain_goes_on_where_it_failed_when_it_is_requeued_with_its_descendants(store: Store) -> None:
    answers: list[TaskResult[int, str]] = [Failure.with_error("not yet"), Success.with_result(7)]

    @task
    def flaky(number: int, _: Empty) -> TaskResult[int, str]:
        return answers.pop(0)

    made = chain(double, flaky, double, name="flaky-chain")
    client = Client(store)
    handle = await client.enqueue(made.with_metadata(1))
    async with open_executor(store, [made], config=quick()):
        assert await handle.wait(PATIENCE_SECONDS) == Failure.with_error("not yet")
        (await client.requeue(handle.id, descendants=True)).unwrap()
        assert await handle.wait(PATIENCE_SECONDS) == Success.with_result(14)

    names = [record.name for record in await all_records(store)]
    assert (names.count("double"), names.count("flaky")) == (2, 1)


async def test_a_saga_takes_its_steps_one_after_the_other(store: Store) -> None:
    assert await run(store, [book_trip], book_trip.with_metadata(Trip())) == [
        Success.with_result(Itinerary(Flight("Rome-1A"), [Room(1), Room(2)], Receipt(200)))
    ]
    names = [record.name for record in await all_records(store)]
    assert names[:7] == ["book-trip", "book-flight", "book-room", "book-room", "rent-car", "insure", "pay"]
    assert set(names[7:]) <= {"book-trip:on-outcome"}


async def test_a_saga_that_cannot_go_on_undoes_its_steps_in_reverse(store: Store) -> None:
    (outcome,) = await run(store, [book_trip], book_trip.with_metadata(Trip(budget=50)))

    assert isinstance(outcome, Failure)
    failed = outcome.error
    assert (failed.step, failed.error, failed.not_undone) == ("pay", NoMoney(150), ())
    assert [each.task for each in failed.undone] == ["rent-car", "book-room", "book-room", "book-flight"]
    for each in failed.undone:
        record = await record_of(store, each.id)
        assert (record.name, record.state) == (each.task, TaskState.COMPLETED)
    undone = [metadata for _, metadata in await enqueued(store, *UNDOS)]
    assert undone == ['"car in Rome"', '{"night":1,"price":100}', '{"night":2,"price":100}', '"Rome-1A"']


async def test_the_first_of_a_fan_out_that_fails_has_the_others_cancelled(store: Store) -> None:
    arrived = trio.Event()

    @task(name="slow-room")
    async def slow_room(night: int, _: Empty) -> TaskResult[Room, NoRoom]:
        if night == 13:
            await arrived.wait()
            return Failure.with_error(NoRoom(night))
        arrived.set()
        await trio.sleep_forever()
        raise AssertionError

    rooms = saga(Trip).fan_out(slow_room, lambda trip, done: trip.nights).undo(cancel_room).build(name="rooms")
    (outcome,) = await run(store, [rooms], rooms.with_metadata(Trip(nights=(1, 13))))

    assert outcome == Failure.with_error(SagaFailed("slow-room", NoRoom(13)))
    assert await enqueued(store, "cancel-room") == []


async def test_an_undo_that_fails_for_good_keeps_no_other_from_being_done(store: Store) -> None:
    (outcome,) = await run(store, [book_trip], book_trip.with_metadata(Trip(nights=(-13, 2), budget=50)))

    assert isinstance(outcome, Failure)
    (kept,) = outcome.error.not_undone
    assert (await record_of(store, kept.id)).metadata_json == "-13"
    assert [each.task for each in outcome.error.undone] == ["rent-car", "book-room", "book-flight"]


# A saga that is cut off in the middle of its second step.


@frozen
class Cut:
    """A saga that is in its second step: one night is booked, the other one's task runs until `go_on` is set."""

    client: Client
    saga: Task[Any, Any, Any, Any]
    id: TaskId
    go_on: trio.Event

    async def undone(self, store: Store) -> list[tuple[str, str]]:
        """What was undone, once nothing is left to be done."""
        await until_all_ended(store)
        (undo,) = [record for record in await all_records(store) if record.name == f"{self.saga.name}:undo"]
        assert undo.state is TaskState.COMPLETED
        answer = undo_task(self.saga).codec.result.read(undo.result_json or "")
        asked = await enqueued(store, *UNDOS)
        assert isinstance(answer, SagaUndone)
        assert (len(answer.undone), answer.not_undone) == (len(asked), ())
        return asked


def undo_task(made: Task[Any, Any, Any, Any]) -> Task[Any, Any, Any, Any]:
    return next(part for part in made.parts if part.name == f"{made.name}:undo")


def gated(go_on: trio.Event, **options: Any) -> Task[Any, Any, Any, Any]:
    @task(name="gated-room")
    async def gated_room(night: int, _: Empty) -> TaskResult[Room, NoRoom]:
        if night == 2:
            await go_on.wait()
        return Success.with_result(Room(night))

    return (
        saga(Trip)
        .step(book_flight, lambda trip, done: trip.to)
        .undo(cancel_flight, lambda trip, flight: flight.seat)
        .fan_out(gated_room, lambda trip, done: trip.nights)
        .undo(cancel_room)
        .build(name="gated-trip", **options)
    )


async def in_second_step(store: Store, made: Task[Any, Any, Any, Any], go_on: trio.Event) -> Cut:
    client = Client(store)
    handle = await client.enqueue(made.with_metadata(Trip()))

    async def one_of_two_has_ended() -> bool:
        found = await client.search(TaskQuery().with_name("gated-room"))
        return {each.state for each in found.records} == {TaskState.RUNNING, TaskState.COMPLETED}

    await until_async(one_of_two_has_ended, "one of two rooms to be booked")
    return Cut(client, made, handle.id, go_on)


BOTH_ROOMS = [
    ("cancel-room", '{"night":1,"price":100}'),
    ("cancel-room", '{"night":2,"price":100}'),
    ("cancel-flight", '"Rome-1A"'),
]
ONE_ROOM = [BOTH_ROOMS[0], BOTH_ROOMS[2]]


async def test_a_cancelled_saga_waits_for_what_is_under_way_and_undoes_that_too(store: Store) -> None:
    go_on = trio.Event()
    made = gated(go_on)
    async with open_executor(store, [made], config=quick()):
        cut = await in_second_step(store, made, go_on)
        (await cut.client.cancel(cut.id, reason="ill")).unwrap()
        assert (await record_of(store, cut.id)).state is TaskState.CANCELLED
        (companion,) = [each for each in await all_records(store) if each.name == "gated-trip:on-outcome"]
        assert companion.state is TaskState.SUSPENDED
        go_on.set()

        assert await cut.undone(store) == BOTH_ROOMS


async def test_a_saga_that_is_cancelled_with_its_descendants_undoes_what_had_succeeded(store: Store) -> None:
    go_on = trio.Event()
    made = gated(go_on)
    async with open_executor(store, [made], config=quick()):
        cut = await in_second_step(store, made, go_on)
        (await cut.client.cancel(cut.id, reason="ill", descendants=True)).unwrap()

        assert await cut.undone(store) == ONE_ROOM


@pytest.mark.parametrize("kind", ["memory", "sqlite"])  # the server's clock cannot be moved
async def test_a_saga_that_misses_its_deadline_is_undone(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    go_on, clock = trio.Event(), MovableClock()
    made = gated(go_on, deadline_seconds=60)
    async with (
        open_store(store_url(kind, request, tmp_path), clock=clock) as store,
        open_executor(store, [made], config=quick(lease_seconds=600)),
    ):
        cut = await in_second_step(store, made, go_on)
        clock.forward(timedelta(seconds=61))
        go_on.set()
        record = await until_state(store, cut.id, TaskState.FAILED)
        assert record.crash is not None
        assert record.crash.kind is CrashKind.DEADLINE

        assert await cut.undone(store) == BOTH_ROOMS


async def test_a_saga_that_crashes_is_undone(store: Store) -> None:
    def fails(trip: Trip, done: object) -> str:
        raise LookupError("no such town")

    made = (
        saga(Trip)
        .step(book_flight, lambda trip, done: trip.to)
        .undo(cancel_flight, lambda trip, flight: flight.seat)
        .fan_out(book_room, lambda trip, done: trip.nights)
        .undo(cancel_room)
        .step(book_flight, fails, name="back")
        .build(name="gated-trip", retry=Retry.never())
    )
    client = Client(store)
    handle = await client.enqueue(made.with_metadata(Trip()))
    async with open_executor(store, [made], config=quick()):
        outcome = await handle.wait(PATIENCE_SECONDS)
        assert isinstance(outcome, Crash)
        assert outcome.message == "no such town"

        assert await Cut(client, made, handle.id, trio.Event()).undone(store) == BOTH_ROOMS


async def test_a_saga_that_was_undone_only_begins_anew(store: Store) -> None:
    go_on = trio.Event()
    made = gated(go_on)
    async with open_executor(store, [made], config=quick()):
        cut = await in_second_step(store, made, go_on)
        (await cut.client.cancel(cut.id, reason="ill", descendants=True)).unwrap()
        await cut.undone(store)
        go_on.set()

        (await cut.client.requeue(cut.id)).unwrap()
        record = await until_state(store, cut.id, TaskState.FAILED)
        assert "requeue it with from_start=True" in (record.error_json or "")
        await until_all_ended(store)
        assert await enqueued(store, *UNDOS) == ONE_ROOM  # nothing is undone twice

        (await cut.client.requeue(cut.id, from_start=True)).unwrap()
        await until_state(store, cut.id, TaskState.COMPLETED)
        await until_all_ended(store)
        assert await enqueued(store, *UNDOS) == ONE_ROOM


async def test_a_saga_that_is_cancelled_while_it_undoes_is_undone_to_the_end(store: Store) -> None:
    go_on, begun = trio.Event(), trio.Event()

    @task(name="cancel-room")
    async def slow_cancel(room: Room, _: Empty) -> TaskResult[Empty, str]:
        begun.set()
        await go_on.wait()
        return Success.with_empty_result()

    made = (
        saga(Trip)
        .step(book_flight, lambda trip, done: trip.to)
        .undo(cancel_flight, lambda trip, flight: flight.seat)
        .fan_out(book_room, lambda trip, done: trip.nights)
        .undo(slow_cancel)
        .build(name="gated-trip")
    )
    client = Client(store)
    handle = await client.enqueue(made.with_metadata(Trip(nights=(1, 2, 13))))
    async with open_executor(store, [made], config=quick()):
        with trio.fail_after(PATIENCE_SECONDS):
            await begun.wait()
        (await client.cancel(handle.id, reason="ill")).unwrap()
        go_on.set()
        await until_all_ended(store)

    asked = await enqueued(store, *UNDOS)
    assert asked[-1] == ("cancel-flight", '"Rome-1A"')
    assert len(set(asked)) == len(asked)
    booked = [each for each in await all_records(store) if each.name == "book-room" and each.result_json is not None]
    assert len(asked) == 1 + len(booked)
