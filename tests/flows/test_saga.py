"""A saga as a task that is called: which step comes next, what it is asked, and what is undone in which order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from milepost import (
    Cancellation,
    Crash,
    CrashKind,
    Empty,
    Failure,
    InvalidResult,
    Outcome,
    Retry,
    SagaFailed,
    SagaPart,
    SagaState,
    SagaTask,
    SagaUndone,
    Success,
    Suspended,
    Task,
    TaskId,
    TaskRequest,
    TaskResult,
    saga,
    task,
)
from milepost.registry import Registry
from milepost.testing import recorded_execution, run_once
from milepost.testing.to_end import run_to_end
from tests.flows.trips import (
    Bill,
    Flight,
    Itinerary,
    NoMoney,
    NoRoom,
    NoSeat,
    Receipt,
    Room,
    Trip,
    book_flight,
    book_room,
    book_trip,
    cancel_flight,
    cancel_room,
    insure,
    pay,
    rent_car,
    return_car,
)

pytestmark = pytest.mark.anyio

TRIP = Trip()
CANCELLED = Crash(CrashKind.CANCELLED, "another one has not succeeded")
UNREADABLE = Crash(CrashKind.UNDECODABLE, "the stored outcome does not fit the task's types")
Ended = tuple[Any, Outcome[Any, Any]]


def id_of(number: int) -> TaskId:
    """The id of a recorded child."""
    return TaskId(f"00000000-0000-7000-8000-{number:012d}")


def part(number: int, result: Any) -> SagaPart[Any]:
    """What a recorded child has given."""
    return SagaPart(id_of(number), result)


FLIGHT = {"book-flight": [part(1, Flight("Rome-1A"))]}
ROOMS = {"book-room": [part(1, Room(1)), part(2, Room(2))]}
CAR = {"rent-car": [part(1, "car in Rome")]}


async def called(state: SagaState, *ended: Ended) -> Any:
    return (await run_once(book_trip, TRIP, state, children=ended)).result


def waits(state: SagaState, *requests: TaskRequest, fail_fast: bool = True) -> Suspended[Any, Any, SagaState]:
    return Suspended(state).then_enqueue(*requests).until_finished(fail_fast=fail_fast)


async def test_a_saga_waits_for_its_first_step() -> None:
    assert await called(SagaState()) == waits(SagaState("book-flight"), book_flight.with_metadata("Rome"))


async def test_the_next_step_is_enqueued_with_the_commit_of_what_the_one_before_has_given() -> None:
    second = await called(SagaState("book-flight"), (book_flight, Success.with_result(Flight("Rome-1A"))))

    requests = [book_room.with_metadata(1), book_room.with_metadata(2)]
    assert second == waits(SagaState("book-room", FLIGHT), *requests)


async def test_a_step_is_asked_for_with_the_results_of_all_steps_before() -> None:
    before = {**FLIGHT, **ROOMS, **CAR}
    paid = await called(SagaState("insure", before), (insure, Success.with_empty_result()))

    insured = {"insure": [part(1, Empty())]}
    assert paid == waits(SagaState("pay", {**before, **insured}), pay.with_metadata(Bill(200, 1_000)))


async def test_the_result_of_a_saga_is_made_of_all_that_its_steps_have_given() -> None:
    last = await called(SagaState("pay", {**FLIGHT, **ROOMS}), (pay, Success.with_result(Receipt(200))))

    assert last == Success.with_result(Itinerary(Flight("Rome-1A"), [Room(1), Room(2)], Receipt(200)))


async def test_a_step_that_asks_for_nothing_is_passed() -> None:
    run = await run_once(
        book_trip,
        Trip(nights=()),
        SagaState("book-flight"),
        children=[(book_flight, Success.with_result(Flight("Rome-1A")))],
    )

    assert run.result == waits(SagaState("rent-car", FLIGHT), rent_car.with_metadata("Rome"))


async def test_what_a_failed_step_has_done_is_undone_first() -> None:
    undoing = await called(
        SagaState("book-room", FLIGHT),
        (book_room, Success.with_result(Room(1))),
        (book_room, CANCELLED),
        (book_room, Cancellation.with_error(NoRoom(13))),
    )

    done = {**FLIGHT, "book-room": [part(1, Room(1))]}
    failed = SagaFailed("book-room", NoRoom(13))  # the cancel followed from it
    assert undoing == waits(SagaState("book-room", done, failed), cancel_room.with_metadata(Room(1)), fail_fast=False)


async def test_a_step_that_has_done_nothing_and_one_without_undo_are_passed_on_the_way_back() -> None:
    before = {**FLIGHT, **ROOMS, **CAR, "insure": [part(1, Empty())]}
    undoing = await called(SagaState("pay", before), (pay, Failure.with_error(NoMoney(5))))

    state = SagaState("rent-car", {**before, "pay": []}, SagaFailed("pay", NoMoney(5)))
    assert undoing == waits(state, return_car.with_metadata("car in Rome"), fail_fast=False)


async def test_the_undo_of_one_step_waits_for_that_of_the_step_after() -> None:
    failed = SagaFailed("rent-car", Crash(CrashKind.EXCEPTION, "all is water"))
    state = SagaState("book-room", {**FLIGHT, **ROOMS}, failed)
    undoing = await called(
        state, (cancel_room, Success.with_empty_result()), (cancel_room, Success.with_empty_result())
    )

    undone = (SagaTask("book-room", id_of(1)), SagaTask("book-room", id_of(2)))
    after = SagaState("book-flight", {**FLIGHT, **ROOMS}, SagaFailed(failed.step, failed.error, undone))
    assert undoing == waits(after, cancel_flight.with_metadata("Rome-1A"), fail_fast=False)


async def test_an_undo_that_fails_is_told_and_the_others_go_on() -> None:
    state = SagaState("book-room", {**FLIGHT, **ROOMS}, SagaFailed("pay", NoMoney(5)))
    undoing = await called(
        state, (cancel_room, Failure.with_error("no refund")), (cancel_room, Success.with_empty_result())
    )

    assert undoing.execution_metadata.step == "book-flight"
    assert undoing.execution_metadata.failed == SagaFailed(
        "pay", NoMoney(5), undone=(SagaTask("book-room", id_of(2)),), not_undone=(SagaTask("book-room", id_of(1)),)
    )


async def test_a_saga_that_is_undone_ends_with_what_has_failed_and_is_not_retried() -> None:
    state = SagaState("book-flight", FLIGHT, SagaFailed("pay", NoMoney(5)))
    ended = await called(state, (cancel_flight, Success.with_empty_result()))

    undone = (SagaTask("book-flight", id_of(1)),)
    assert ended == Failure.with_error(SagaFailed("pay", NoMoney(5), undone)).final()


async def test_a_result_that_cannot_be_read_is_not_undone_and_told() -> None:
    ended = await called(SagaState("book-flight"), (book_flight, UNREADABLE))

    not_undone = (SagaTask("book-flight", id_of(1)),)
    assert ended == Failure.with_error(SagaFailed("book-flight", UNREADABLE, not_undone=not_undone)).final()


@pytest.mark.parametrize(
    ("trip", "step", "error", "undos"),
    [
        (Trip("Atlantis"), "book-flight", NoSeat("Atlantis"), []),
        (Trip(nights=(1, 2, 13, 4)), "book-room", NoRoom(13), ["book-room", "book-room", "book-flight"]),
        (Trip(budget=150), "pay", NoMoney(50), ["rent-car", "book-room", "book-room", "book-flight"]),
    ],
)
async def test_a_saga_runs_to_its_end_and_undoes_what_it_has_done(
    trip: Trip, step: str, error: object, undos: list[str]
) -> None:
    found = await run_to_end(book_trip, trip)

    assert isinstance(found.outcome, Failure)
    failed = found.outcome.error
    assert (failed.step, failed.error) == (step, error)
    assert [each.task for each in failed.undone] == undos
    assert failed.not_undone == ()
    assert found.follow_ups == ()  # its companion leaves alone what the saga has undone itself


async def test_a_saga_that_succeeds_enqueues_nothing_more() -> None:
    found = await run_to_end(book_trip, TRIP)

    assert found.outcome == Success.with_result(Itinerary(Flight("Rome-1A"), [Room(1), Room(2)], Receipt(200)))
    assert found.follow_ups == ()


# A saga that is cut off: its companion decides what is left, and the undo task does it.


def undo_of(made: Task[Any, Any, Any, Any]) -> Task[Any, Any, Any, Any]:
    return Registry.of([made]).tasks[f"{made.name}:undo"]


def left(state: SagaState, outcome: Outcome[Any, Any], *ended: Ended) -> list[TaskRequest]:
    assert book_trip.on_outcome is not None
    return list(book_trip.on_outcome(TRIP, state, outcome, recorded_execution(Empty(), children=ended).children))


def asks_undo(state: SagaState) -> list[TaskRequest]:
    return [undo_of(book_trip).with_metadata(TRIP).with_execution_metadata(state)]


def test_a_cancelled_saga_is_undone_with_what_its_last_step_has_done_meanwhile() -> None:
    asked = left(
        SagaState("book-room", FLIGHT), CANCELLED, (book_room, Success.with_result(Room(1))), (book_room, CANCELLED)
    )

    done = {**FLIGHT, "book-room": [part(1, Room(1))]}
    assert asked == asks_undo(SagaState("book-room", done, SagaFailed("book-room", CANCELLED)))


def test_a_saga_that_is_cancelled_while_it_undoes_is_undone_from_there() -> None:
    state = SagaState("book-room", {**FLIGHT, **ROOMS}, SagaFailed("pay", NoMoney(5)))
    asked = left(
        state, CANCELLED, (cancel_room, Success.with_empty_result()), (cancel_room, Failure.with_error("no refund"))
    )

    undone, not_undone = (SagaTask("book-room", id_of(1)),), (SagaTask("book-room", id_of(2)),)
    failed = SagaFailed("pay", NoMoney(5), undone, not_undone)
    assert asked == asks_undo(SagaState("book-flight", {**FLIGHT, **ROOMS}, failed))


async def test_an_undo_that_is_cancelled_with_its_saga_is_done_once_more() -> None:
    state = SagaState("book-room", {**FLIGHT, **ROOMS}, SagaFailed("pay", NoMoney(5)))
    asked = left(state, CANCELLED, (cancel_room, Success.with_empty_result()), (cancel_room, CANCELLED))

    first, second = (SagaTask("book-room", id_of(number)) for number in (1, 2))
    again = SagaState("book-room", {**FLIGHT, "book-room": [part(2, Room(2))]}, SagaFailed("pay", NoMoney(5), (first,)))
    assert asked == asks_undo(again)
    found = await run_to_end(undo_of(book_trip), TRIP, again)
    assert found.outcome == Success.with_result(SagaUndone((first, second, SagaTask("book-flight", id_of(1)))))


@pytest.mark.parametrize(
    ("state", "outcome", "ended"),
    [
        (SagaState(), CANCELLED, []),  # it was never begun
        (SagaState("pay", {**FLIGHT}), CANCELLED, []),  # it has ended before, and its children are another companion's
        (SagaState("book-flight"), CANCELLED, [(book_flight, CANCELLED)]),
        (SagaState("insure"), CANCELLED, [(insure, Success.with_empty_result())]),
        (SagaState("pay", FLIGHT), Success.with_result(None), [(pay, Success.with_result(Receipt(1)))]),
        (SagaState("book-flight", FLIGHT), Failure.with_error(None), [(cancel_flight, Success.with_empty_result())]),
    ],
)
def test_there_is_nothing_to_undo_of_a_saga(
    state: SagaState, outcome: Outcome[Any, Any], ended: Iterable[Ended]
) -> None:
    assert left(state, outcome, *ended) == []


async def test_the_undo_task_undoes_step_by_step_and_tells_what_it_has_done() -> None:
    start = SagaState("book-room", {**FLIGHT, **ROOMS}, SagaFailed("book-room", CANCELLED))
    found = await run_to_end(undo_of(book_trip), TRIP, start)

    tasks = (SagaTask("book-room", id_of(1)), SagaTask("book-room", id_of(2)), SagaTask("book-flight", id_of(1)))
    assert found.outcome == Success.with_result(SagaUndone(tasks))
    requests = [request for run in found.runs for request in run.follow_ups]
    assert requests == [
        cancel_room.with_metadata(Room(1)),
        cancel_room.with_metadata(Room(2)),
        cancel_flight.with_metadata("Rome-1A"),
    ]


async def test_the_undo_task_fails_when_something_is_not_undone() -> None:
    rooms = {"book-room": [part(1, Room(-13)), part(2, Room(2))]}
    start = SagaState("book-room", {**FLIGHT, **rooms}, SagaFailed("book-room", CANCELLED))
    found = await run_to_end(undo_of(book_trip), TRIP, start)

    undone = (SagaTask("book-room", id_of(2)), SagaTask("book-flight", id_of(1)))
    assert found.outcome == Failure.with_error(SagaUndone(undone, (SagaTask("book-room", id_of(1)),)))


async def test_the_undo_task_of_a_saga_whose_last_undo_was_under_way_only_tells() -> None:
    undone = (SagaTask("book-flight", id_of(1)),)
    start = SagaState("", FLIGHT, SagaFailed("pay", NoMoney(5), undone))

    assert (await run_to_end(undo_of(book_trip), TRIP, start)).outcome == Success.with_result(SagaUndone(undone))


async def test_a_saga_that_raises_is_undone_after_its_last_attempt() -> None:
    @task
    def stuck(_: Empty, __: Empty) -> TaskResult[Empty, Empty]:
        return Success.with_empty_result()

    def refuses(trip: Trip, done: object) -> Empty:
        raise LookupError("no such thing")

    made = (
        saga(Trip)
        .step(book_flight, lambda trip, done: trip.to)
        .undo(cancel_flight, lambda trip, flight: flight.seat)
        .step(stuck, refuses)
        .build(name="stuck-trip", retry=Retry.never())
    )
    found = await run_to_end(made, TRIP)

    assert isinstance(found.outcome, Crash)
    assert found.outcome.message == "no such thing"
    requests: list[Any] = list(found.follow_ups)
    (state,) = [request.execution_metadata for request in requests if request.task is undo_of(made)]
    assert (state.step, state.failed.error) == ("book-flight", found.outcome)
    assert [each.result for each in state.done["book-flight"]] == [Flight("Rome-1A")]


async def test_a_saga_that_was_undone_by_its_undo_task_does_not_go_on_when_it_is_requeued() -> None:
    answer = await called(SagaState("pay", {**FLIGHT, **ROOMS}))

    message = (
        "the saga 'book-trip' has ended before, in its step 'pay', and what was to be undone is undone, so it cannot "
        "go on from there: requeue it with from_start=True"
    )
    assert answer == Failure.with_error(SagaFailed("pay", Crash(CrashKind.EXCEPTION, message))).final()


async def test_an_on_outcome_of_a_saga_is_called_as_well() -> None:
    @task
    def report(text: str, _: Empty) -> TaskResult[Empty, Empty]:
        return Success.with_empty_result()

    def told(trip: Trip, state: SagaState, outcome: object) -> list[TaskRequest]:
        return [report.with_metadata(f"{trip.to} {type(outcome).__name__}")]

    step = saga(Trip).step(book_flight, lambda trip, done: trip.to)
    made = step.undo(cancel_flight, lambda trip, flight: flight.seat).build(name="told-trip", on_outcome=told)

    assert (await run_to_end(made, TRIP)).follow_ups == (report.with_metadata("Rome Success"),)
    assert (await run_to_end(made, Trip("Atlantis"))).follow_ups == (report.with_metadata("Atlantis Failure"),)


async def test_a_step_that_the_saga_does_not_have_any_more_stops_it_with_the_reason() -> None:
    with pytest.raises(InvalidResult, match="was in its step 'rent-bike', which it does not have any more"):
        await book_trip(
            TRIP, SagaState("rent-bike"), recorded_execution(SagaState("rent-bike"), children=[(pay, CANCELLED)])
        )
