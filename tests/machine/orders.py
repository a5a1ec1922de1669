"""A machine that tests share: an order is placed, waits for its payment, and is shipped."""

from __future__ import annotations

from attrs import frozen

from milepost import Cancellation, Execution, Next, StateMachine, Success, Suspended, TaskResult


@frozen
class Order:
    """The request."""

    id: int


@frozen
class Placed:
    """The first state."""


@frozen
class AwaitingPayment:
    """Somebody outside knows the operation, and says when it is over."""

    operation: str
    paid: bool | None = None


@frozen
class Shipped:
    """Under way, by parcel number."""

    parcel: str


@frozen
class Receipt:
    """The result."""

    parcel: str


@frozen
class NotPaid:
    """The error."""

    operation: str


State = Placed | AwaitingPayment | Shipped


def on_placed(order: Order, placed: Placed) -> Next[AwaitingPayment, Receipt, NotPaid]:
    """A plain function."""
    return Next.state(AwaitingPayment(f"op-{order.id}")).with_outcome(Suspended())


async def on_payment(
    order: Order, waiting: AwaitingPayment, execution: Execution[State]
) -> Next[Shipped] | Suspended | Cancellation[Receipt, NotPaid]:
    """An async function that takes the execution."""
    execution.report(0.5, waiting.operation)
    match waiting.paid:
        case None:
            return Suspended()
        case True:
            return Next.state(Shipped(f"parcel-{order.id}"))
        case False:
            return Cancellation.with_error(NotPaid(waiting.operation))


async def on_shipped(order: Order, shipped: Shipped) -> TaskResult[Receipt, NotPaid]:
    """An async function without execution."""
    return Success.with_result(Receipt(shipped.parcel))


order_task = (
    StateMachine.for_states(Placed | AwaitingPayment | Shipped)
    .for_metadata(Order)
    .for_result(Receipt)
    .for_error(NotPaid)
    .with_handler(Placed, on_placed)
    .with_handler(AwaitingPayment, on_payment)
    .with_handler(Shipped, on_shipped)
    .build(name="order")
)
