"""What is wrong with a saga is told where it is written; what its functions give is checked when they are called."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import field, frozen

from milepost import (
    Crash,
    CrashKind,
    Empty,
    InvalidResult,
    Json,
    Retry,
    SagaFailed,
    SagaPart,
    SagaState,
    StepResults,
    Success,
    Task,
    TaskDefinitionError,
    TaskId,
    TaskResult,
    chain,
    saga,
    secret,
    task,
)
from milepost.payload import PAYLOAD_BYTES_LIMIT
from milepost.registry import Registry
from milepost.testing import recorded_execution
from tests.flows.trips import (
    Flight,
    NoRoom,
    NoSeat,
    Room,
    Trip,
    book_flight,
    book_room,
    book_trip,
    cancel_flight,
    cancel_room,
    pay,
)

pytestmark = pytest.mark.anyio

booked = saga(Trip).step(book_flight, lambda trip, done: trip.to)
# As a program without a checker writes it.
unchecked: Any = saga
started: Any = booked


def same(metadata: Any, done: StepResults) -> Any:
    return metadata


def of_one(metadata: Any) -> Any:
    return metadata


async def asks_later(metadata: Any, done: StepResults) -> Any:
    return metadata


async def first_run(made: Task[Any, Any, Any, Any], trip: Trip = Trip()) -> Any:  # noqa: B008 (a frozen value)
    return await made.function(trip, SagaState(), recorded_execution(SagaState()))


def test_whoever_registers_a_saga_registers_all_its_tasks() -> None:
    assert set(Registry.of([book_trip]).tasks) == {
        "book-trip",
        "book-trip:on-outcome",
        "book-trip:undo",
        "book-flight",
        "book-room",
        "rent-car",
        "insure",
        "pay",
        "cancel-flight",
        "cancel-room",
        "return-car",
    }


def test_two_sagas_may_share_their_tasks() -> None:
    other = booked.undo(cancel_flight, lambda trip, flight: flight.seat).build(name="other-trip")

    assert {"book-trip", "other-trip", "other-trip:undo"} < set(Registry.of([book_trip, other]).tasks)


def test_a_saga_takes_the_options_of_a_task_and_its_undo_task_those_that_fit() -> None:
    made = booked.build(name="slow-trip", retry=Retry.never(), queue="bulk", priority=3, deadline_seconds=5)
    undo = Registry.of([made]).tasks["slow-trip:undo"]

    assert (made.retry, made.queue, made.priority, made.deadline_seconds) == (Retry.never(), "bulk", 3, 5)
    assert (undo.retry.times, undo.queue, undo.priority, undo.deadline_seconds) == (5, "bulk", 3, None)
    assert made.payload_bytes_max == undo.payload_bytes_max == PAYLOAD_BYTES_LIMIT


def test_the_error_of_a_saga_holds_what_each_step_may_fail_with() -> None:
    both = booked.fan_out(book_room, lambda trip, done: trip.nights).build(name="both")

    assert both.types.error == SagaFailed[NoSeat | NoRoom | Crash]


def test_a_saga_of_sagas_and_chains_has_one_error_for_them_all() -> None:
    one = booked.build(name="one")
    two = saga(Trip).fan_out(book_room, lambda trip, done: trip.nights).build(name="two")
    outer = saga(Trip).step(one, lambda trip, done: trip).step(two, lambda trip, done: trip).build(name="outer")

    assert outer.types.error == SagaFailed[Crash | SagaFailed[NoSeat | Crash | NoRoom]]
    error = SagaFailed("two", SagaFailed("book-room", NoRoom(3)))
    assert outer.codec.error.decode(outer.codec.error.encode(error).unwrap()).unwrap() == error
    assert chain(one, saga(Empty).step(two, lambda _, done: Trip()).build(name="last"), name="both").types.error


def test_what_a_saga_keeps_has_the_types_of_its_steps_secrets_included() -> None:
    @frozen
    class Token:
        value: str = field(repr=secret)

    @task
    def log_in(_: Empty, __: Empty) -> TaskResult[Token, Empty]:
        return Success.with_result(Token("hunter2"))

    made = saga(Empty).step(log_in, lambda _, done: Empty(), name="log in!").build(name="session")
    state: SagaState = SagaState("log in!", {"log in!": [SagaPart(TaskId("1"), Token("hunter2"))]})
    stored = made.codec.execution_metadata.encode(state).unwrap()

    assert made.codec.execution_metadata.decode(stored).unwrap() == state
    assert made.codec.execution_metadata.shown(stored) == {
        "step": "log in!",
        "done": {"log in!": [{"id": "1", "result": {"value": "***"}}]},
        "failed": None,
    }


def test_a_saga_without_steps_is_refused() -> None:
    with pytest.raises(TaskDefinitionError, match=r"the saga 'none' has no steps: add \.step\(task, lambda"):
        saga(Trip).build(name="none")


def test_two_steps_of_one_name_are_refused_until_one_has_another() -> None:
    twice = booked.step(book_flight, lambda trip, done: "Paris")
    with pytest.raises(TaskDefinitionError, match="has two steps of the name 'book-flight': give one another name="):
        twice.build(name="twice")

    named = booked.step(book_flight, lambda trip, done: "Paris", name="back").build(name="twice")
    assert set(Registry.of([named]).tasks) == {"twice", "twice:on-outcome", "twice:undo", "book-flight"}


def test_an_undo_that_does_not_take_what_its_step_gives_is_refused() -> None:
    undo: Any = cancel_room
    with pytest.raises(
        TaskDefinitionError,
        match="cannot undo 'book-flight' with the result as it is: 'cancel-room' takes Room, and 'book-flight' gives "
        r"Flight; give undo\(\) a function of metadata and result",
    ):
        booked.undo(undo).build(name="wrong")


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (
            lambda: unchecked(Trip).step(len, same),
            r"step\(\) takes a task, got <built-in function len>",
        ),
        (
            lambda: unchecked(Trip).fan_out(book_room, [1, 2]),
            r"fan_out\(\) takes a function of metadata and results, got \[",
        ),
        (lambda: started.undo(Flight("1A")), r"undo\(\) takes a task, got Flight"),
        (lambda: started.undo(cancel_flight, "1A"), r"undo\(\) takes a function of metadata and results, got '1A'"),
        (lambda: started.for_result(str, "done"), r"for_result\(\) takes a function"),
        (lambda: unchecked(Trip).step(pay, asks_later), r"step\(\) takes a function of metadata and results, got <"),
        (
            lambda: unchecked(Trip).step(pay, of_one),
            r"step\(\) takes a function of two parameters, as lambda metadata, results: \.\.\., got <function",
        ),
        (lambda: started.undo(cancel_flight, of_one), r"undo\(\) takes a function of two parameters"),
        # The empty name stands for "before the first step", where such a saga would begin for ever.
        (lambda: unchecked(Trip).step(pay, same, name="").build(name="x"), "a name of a step is 1 to 200 characters"),
        (lambda: unchecked(Trip).step(pay, same, name=[]).build(name="x"), r"a name of a step is .*, got \[\]"),
        (
            lambda: unchecked(complex).step(pay, same).build(name="odd"),
            "complex cannot be stored",
        ),
        (lambda: started.build(name="a trip"), "the name of a saga 'a trip' is not a name"),
        (lambda: started.build(name="trip", on_outcome=3), "on_outcome is a plain def that returns requests, got 3"),
    ],
)
def test_what_is_no_saga_is_refused_where_it_is_written(write: Any, problem: str) -> None:
    with pytest.raises(TaskDefinitionError, match=problem):
        write()


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ("Rome", "got a str for its fan-out 'book-flight', which takes a list"),
        (7, "got a int for its fan-out 'book-flight', which takes a list"),
        (
            [book_room.with_metadata(1)],
            "got a request for 'book-room' in its step book-flight, which is one of 'book-fl",
        ),
    ],
)
async def test_what_a_step_cannot_ask_for_stops_the_saga_with_the_reason(asked: Any, problem: str) -> None:
    made = saga(Trip).fan_out(book_flight, lambda trip, done: asked).build(name="wrong")

    with pytest.raises(InvalidResult, match=f"the saga 'wrong' {problem}"):
        await first_run(made)


async def test_a_step_may_ask_with_a_request_of_its_task() -> None:
    keyed = saga(Trip).step(book_flight, lambda trip, done: book_flight.with_metadata(trip.to).with_priority(3))

    waiting = await first_run(keyed.build(name="keyed"))
    assert waiting.follow_ups == (book_flight.with_metadata("Rome").with_priority(3),)


async def test_an_undo_with_a_key_is_refused_for_another_task_might_be_taken_for_it() -> None:
    made = booked.undo(
        cancel_flight, lambda trip, flight: cancel_flight.with_metadata(flight.seat).with_key(flight.seat)
    ).build(name="keyed")
    state: SagaState = SagaState("book-flight")
    ended: list[tuple[Any, Any]] = [
        (book_flight, Success.with_result(Flight("1A"))),
        (book_flight, Crash(CrashKind.TIMEOUT)),
    ]

    with pytest.raises(InvalidResult, match="got a request with the key '1A' for the undo of 'book-flight'"):
        await made.function(Trip(), state, recorded_execution(state, children=ended))


async def test_a_step_with_an_undo_takes_no_key_for_it_might_undo_what_somebody_else_has_done() -> None:
    keyed = saga(Trip).step(book_flight, lambda trip, done: book_flight.with_metadata(trip.to).with_key("seat"))
    undone = keyed.undo(cancel_flight, lambda trip, flight: flight.seat)

    with pytest.raises(InvalidResult, match="got a request with the key 'seat' for its step 'book-flight', which has"):
        await first_run(undone.build(name="keyed"))
    assert (await first_run(keyed.build(name="keyed"))).follow_ups[0].key == "seat"


def test_results_of_a_task_that_is_no_step_are_asked_for_in_vain() -> None:
    done = StepResults("trip", {"book-flight": [Flight("1A")], "book-room": []})

    assert done.one(book_flight) == Flight("1A")
    assert done.of(book_room) == []
    with pytest.raises(TaskDefinitionError, match="the saga 'trip' has no step of 'pay', whose results are asked for"):
        done.of(pay)
    with pytest.raises(LookupError, match="has 0 results of 'book-room' by now, and not one"):
        done.one(book_room)
    assert repr(done) == "<StepResults of 'trip', book-flight: 1, book-room: 0>"


def test_a_step_may_give_anything_that_can_be_stored_side_by_side_with_others() -> None:
    """Results of different steps need not be told apart: each is kept under its own step."""

    @task
    def some(_: Empty, __: Empty) -> TaskResult[list[int], Empty]:
        return Success.with_result([1])

    @task
    def more(_: Empty, __: Empty) -> TaskResult[list[Room], Empty]:
        return Success.with_result([Room(1)])

    @task
    def anything(_: Empty, __: Empty) -> TaskResult[Json, Empty]:
        return Success.with_result(None)

    steps = saga(Empty).step(some, lambda _, done: Empty()).step(more, lambda _, done: Empty())
    made = steps.step(anything, lambda _, done: Empty()).build(name="all")
    parts = {"some": [1], "more": [Room(1)], "anything": {"a": [1, None]}}
    state: SagaState = SagaState("more", {name: [SagaPart(TaskId("1"), value)] for name, value in parts.items()})

    assert made.codec.execution_metadata.decode(made.codec.execution_metadata.encode(state).unwrap()).unwrap() == state
