"""A saga that tests share: a trip is booked in five steps, one of them a fan-out, and undone if it cannot be paid."""

from __future__ import annotations

from attrs import frozen

from milepost import Cancellation, Empty, Failure, Retry, Success, TaskResult, saga, task


@frozen
class Trip:
    """The request. A night of 13 has no room, one of -13 has a room that cannot be given back."""

    to: str = "Rome"
    nights: tuple[int, ...] = (1, 2)
    budget: int = 1_000


@frozen
class Flight:
    """A result."""

    seat: str


@frozen
class Room:
    """A result."""

    night: int
    price: int = 100


@frozen
class Receipt:
    """A result."""

    paid: int


@frozen
class Itinerary:
    """The saga's result."""

    flight: Flight
    rooms: list[Room]
    receipt: Receipt


@frozen
class NoSeat:
    """An error."""

    to: str


@frozen
class NoRoom:
    """An error."""

    night: int


@frozen
class NoMoney:
    """An error."""

    missing: int


@frozen
class Bill:
    """What is to be paid."""

    amount: int
    budget: int


@task(name="book-flight")
def book_flight(to: str, _: Empty) -> TaskResult[Flight, NoSeat]:
    """Nobody flies to Atlantis."""
    return Failure.with_error(NoSeat(to)) if to == "Atlantis" else Success.with_result(Flight(f"{to}-1A"))


@task(name="book-room")
def book_room(night: int, _: Empty) -> TaskResult[Room, NoRoom]:
    """There is no night 13."""
    return Cancellation.with_error(NoRoom(night)) if night == 13 else Success.with_result(Room(night))


@task(name="rent-car", retry=Retry.never())
def rent_car(to: str, _: Empty) -> TaskResult[str, Empty]:
    """There are no cars in Venice."""
    if to == "Venice":
        raise OSError("all is water")
    return Success.with_result(f"car in {to}")


@task(name="insure")
def insure(to: str, _: Empty) -> TaskResult[Empty, Empty]:
    """A step without an undo."""
    return Success.with_empty_result()


@task(name="pay")
def pay(bill: Bill, _: Empty) -> TaskResult[Receipt, NoMoney]:
    """Costs what it costs."""
    missing = bill.amount - bill.budget
    return Failure.with_error(NoMoney(missing)) if missing > 0 else Success.with_result(Receipt(bill.amount))


@task(name="cancel-flight")
def cancel_flight(seat: str, _: Empty) -> TaskResult[Empty, Empty]:
    """An undo whose request is made by a function."""
    return Success.with_empty_result()


@task(name="cancel-room")
def cancel_room(room: Room, _: Empty) -> TaskResult[Empty, str]:
    """An undo that takes the result as it is."""
    return Failure.with_error("no refund") if room.night == -13 else Success.with_empty_result()


@task(name="return-car")
def return_car(car: str, _: Empty) -> TaskResult[Empty, Empty]:
    """An undo."""
    return Success.with_empty_result()


book_trip = (
    saga(Trip)
    .step(book_flight, lambda trip, done: trip.to)
    .undo(cancel_flight, lambda trip, flight: flight.seat)
    .fan_out(book_room, lambda trip, done: trip.nights)
    .undo(cancel_room)
    .step(rent_car, lambda trip, done: trip.to)
    .undo(return_car)
    .step(insure, lambda trip, done: trip.to)
    .step(pay, lambda trip, done: Bill(sum(room.price for room in done.of(book_room)), trip.budget))
    .for_result(Itinerary, lambda trip, done: Itinerary(done.one(book_flight), done.of(book_room), done.one(pay)))
    .build(name="book-trip")
)
