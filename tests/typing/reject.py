"""What both checkers must refuse. Only checked, never run.

Each wrong line, one mistake to a line, is marked with an ignore comment that names mypy's code. Both checkers report an
ignore that is not needed, so a mistake that one of them no longer sees fails the check.
"""

from __future__ import annotations

from datetime import timedelta
from typing import assert_never

from attrs import field, frozen

from milepost import (
    BlockingClient,
    BlockingExecution,
    Cancellation,
    Client,
    Crash,
    Execution,
    Failure,
    NamedEvent,
    Next,
    Outcome,
    Schedule,
    StateMachine,
    Statement,
    Store,
    Success,
    Suspended,
    Task,
    TaskHandle,
    TaskQuery,
    TaskRequest,
    TaskResult,
    chain,
    daily,
    group,
    saga,
    secret,
    task,
)
from milepost.testing import VirtualClock, assert_enqueued, crash_matrix


@frozen
class Order:
    """Metadata."""

    id: int


@frozen
class Waiting:
    """Execution metadata."""

    operation: str = ""


@frozen
class Elsewhere:
    """The execution metadata of another task."""


@frozen
class Receipt:
    """A result."""

    number: int


@frozen
class Refused:
    """An error."""

    reason: str


@frozen
class Lost:
    """Another error."""


# What a task returns.


def a_wrong_result_type(metadata: Order) -> TaskResult[Receipt, Refused]:
    return Success.with_result(Lost())  # type: ignore[arg-type]


def a_wrong_error_type(metadata: Order) -> TaskResult[Receipt, Refused]:
    return Failure.for_result(Receipt).with_error(Lost())  # type: ignore[arg-type]


def a_wrong_reason_to_give_up(metadata: Order) -> TaskResult[Receipt, Refused]:
    return Cancellation.with_error(Lost())  # type: ignore[arg-type]


def a_wrong_named_result_type(metadata: Order) -> TaskResult[Receipt, Refused]:
    return Failure.for_result(Lost).with_error(Refused("no"))  # type: ignore[return-value]


def a_wrong_named_error_type(metadata: Order) -> TaskResult[Receipt, Refused]:
    return Success.with_result(Receipt(1)).for_error(Lost)  # type: ignore[arg-type]


def a_wrong_execution_metadata(metadata: Order) -> TaskResult[Receipt, Refused, Waiting]:
    return Suspended(Elsewhere())  # type: ignore[arg-type]


def a_wrong_execution_metadata_by_name(metadata: Order) -> TaskResult[Receipt, Refused, Waiting]:
    return Suspended.with_execution_metadata(Elsewhere()).for_result(Receipt).for_error(Refused)  # type: ignore[return-value]


def an_execution_metadata_that_was_not_declared(metadata: Order) -> TaskResult[Receipt, Refused]:
    return Suspended(Waiting())  # type: ignore[arg-type]


def a_bare_value(metadata: Order) -> TaskResult[Receipt, Refused]:
    return Receipt(1)  # type: ignore[return-value]


def a_missing_return(metadata: Order) -> TaskResult[Receipt, Refused]:  # type: ignore[return]
    if metadata.id:
        return Success.with_result(Receipt(1))


def an_unfinished_failure(metadata: Order) -> TaskResult[Receipt, Refused]:
    return Failure.for_result(Receipt)  # type: ignore[return-value]


def an_unfinished_suspended(metadata: Order) -> TaskResult[Receipt, Refused]:
    return Suspended.for_result(Receipt)  # type: ignore[return-value]


def an_unfinished_suspended_with_progress(metadata: Order) -> TaskResult[Receipt, Refused, Waiting]:
    return Suspended.with_execution_metadata(Waiting())  # type: ignore[return-value]


def an_unfinished_cancellation(metadata: Order) -> TaskResult[Receipt, Refused]:
    return Cancellation.for_result(Receipt)  # type: ignore[return-value]


def a_hint_on_the_wrong_result() -> None:
    Success.with_result(1).final()  # type: ignore[attr-defined]
    Cancellation.with_error(Lost()).retry_after(timedelta(0))  # type: ignore[attr-defined]
    Failure.with_error(Lost()).until_finished()  # type: ignore[attr-defined]


# What is read from a result.


def a_result_without_narrowing(result: TaskResult[Receipt, Refused]) -> Receipt:
    return result.result  # type: ignore[union-attr]


def an_error_without_narrowing(outcome: Outcome[Receipt, Refused]) -> Refused:
    return outcome.error  # type: ignore[union-attr]


def a_forgotten_case(result: TaskResult[Receipt, Refused, Waiting]) -> str:
    match result:
        case Success():
            return "done"
        case Failure() | Cancellation():
            return "not done"
        case _:
            assert_never(result)  # type: ignore[arg-type]


def a_forgotten_case_without_assert_never(result: TaskResult[Receipt, Refused]) -> None:
    match result:  # type: ignore[exhaustive-match]
        case Success() | Suspended() | Failure():
            print(result)


def a_forgotten_crash(outcome: Outcome[Receipt, Refused]) -> str:
    match outcome:
        case Success():
            return "done"
        case Failure() | Cancellation():
            return "not done"
        case _:
            assert_never(outcome)  # type: ignore[arg-type]


def a_crash_is_not_an_answer(crash: Crash) -> TaskResult[Receipt, Refused]:
    return crash  # type: ignore[return-value]


def a_wrong_step(result: TaskResult[Receipt, Refused]) -> None:
    result.map(step_from_a_number)  # type: ignore[arg-type]


def a_bound_function_without_a_result(result: TaskResult[Receipt, Refused]) -> None:
    result.bind(number_of)  # type: ignore[arg-type]


def step_from_a_number(number: int) -> str:
    return str(number)


def number_of(receipt: Receipt) -> int:
    return receipt.number


# What a task is made of, and what it is asked to do.


@task
async def pay(metadata: Order, progress: Waiting, execution: Execution[Waiting]) -> TaskResult[Receipt, Refused]:
    await execution.commit(Elsewhere())  # type: ignore[arg-type]
    return Success.with_result(Receipt(metadata.id))


@task(blocking=True)
def blocking(metadata: Order, progress: Waiting, execution: BlockingExecution[Waiting]) -> TaskResult[Receipt, Refused]:
    execution.commit(Elsewhere())  # type: ignore[arg-type]
    return Success.with_result(Receipt(metadata.id))


@task
def pure(metadata: Order, progress: Waiting) -> TaskResult[Receipt, Refused]:
    return Success.with_result(Receipt(metadata.id))


async def no_result(metadata: Order, progress: Waiting) -> Receipt:
    return Receipt(metadata.id)


async def another_execution(
    metadata: Order, progress: Waiting, execution: Execution[Elsewhere]
) -> TaskResult[Receipt, Refused]:
    return Success.with_result(Receipt(metadata.id))


def one_parameter(metadata: Order) -> TaskResult[Receipt, Refused]:
    return Success.with_result(Receipt(metadata.id))


def definitions() -> None:
    task(no_result)  # type: ignore[arg-type]
    task(another_execution)  # type: ignore[arg-type]
    task(one_parameter)  # type: ignore[arg-type]
    task(name=5)  # type: ignore[call-overload]


def requests() -> None:
    pure.with_metadata(Waiting())  # type: ignore[arg-type]
    pure.with_metadata(Order("1"))  # type: ignore[arg-type]
    pure.with_metadata(Order(1)).with_execution_metadata(Elsewhere())  # type: ignore[arg-type]
    pure.with_metadata(Order(1)).with_key("order-1", "KEEP")  # type: ignore[arg-type]
    pure.with_metadata(Order(1)).after(5)  # type: ignore[arg-type]


async def calls(execution: Execution[Elsewhere]) -> None:
    pure(Order(1), Elsewhere())  # type: ignore[arg-type]
    await pay(Order(1), Waiting(), execution)  # type: ignore[arg-type]
    await pay(Order(1), Waiting())  # type: ignore[call-arg]


def another_task(wanted: Task[Order, Elsewhere, Receipt, Refused]) -> None:
    another_task(pure)  # type: ignore[arg-type]


def carried() -> None:
    Success.with_result(1).then_enqueue(pure)  # type: ignore[arg-type]
    Success.with_result(1).with_effects("delete from cart")  # type: ignore[arg-type]
    Success.with_result(1).with_effects(Statement("delete from cart where id = ?", 5))  # type: ignore[arg-type]
    Success.with_result(1).then_enqueue(group([pure]))  # type: ignore[list-item]
    group([pure.with_metadata(Order(1))], then=group([]))  # type: ignore[arg-type]
    Failure.with_error(1).until_finished(fail_fast=True)  # type: ignore[attr-defined]


def hook_of_another_order(order: Refused, waiting: Elsewhere, outcome: Outcome[Receipt, Refused]) -> list[TaskRequest]:
    return []


def hook_of_another_result(order: Order, waiting: Elsewhere, outcome: Outcome[int, Refused]) -> list[TaskRequest]:
    return []


def hook_of_no_requests(order: Order, waiting: Elsewhere, outcome: Outcome[Receipt, Refused]) -> str:
    return ""


def hooked(order: Order, waiting: Elsewhere) -> TaskResult[Receipt, Refused]:
    return Failure.with_error(Refused("no"))


def hooks() -> None:
    task(on_outcome=hook_of_another_order)(hooked)  # type: ignore[arg-type]
    task(on_outcome=hook_of_another_result)(hooked)  # type: ignore[arg-type]
    task(on_outcome=hook_of_no_requests)(hooked)  # type: ignore[arg-type]


# What a client gives, and takes.


async def client_verbs(client: Client) -> None:
    await client.enqueue(pure)  # type: ignore[arg-type]
    await client.get(5)  # type: ignore[arg-type]
    await client.requeue(5)  # type: ignore[arg-type]
    await client.cancel_all(TaskQuery())  # type: ignore[call-arg]
    await client.cancel_all("all", reason="moot")  # type: ignore[arg-type]
    await client.requeue_all(TaskQuery.for_task(pure), edit=unpaired)  # type: ignore[arg-type]
    await client.prune(timedelta(days=7))  # type: ignore[arg-type]
    TaskQuery.for_task(pure).with_execution_metadata(Elsewhere())  # type: ignore[arg-type]
    TaskQuery.for_task(pure).with_state("suspended")  # type: ignore[arg-type]


PAID = NamedEvent("paid", Receipt)


async def named_events(client: Client, blocking: BlockingClient, execution: Execution[Waiting]) -> Order | None:
    await client.send_event(PAID, "order-42", Order(1))  # type: ignore[misc]
    await client.send_event(PAID, "order-42")  # type: ignore[call-overload]
    await client.send_event(5, "order-42", 1)  # type: ignore[call-overload]
    await client.send_event(PAID, 42, Receipt(1))  # type: ignore[call-overload]
    blocking.send_event(PAID, "order-42", Order(1))  # type: ignore[misc]
    client.within(None).send_event(PAID, "order-42", Order(1))  # type: ignore[misc]
    Suspended().until_event(PAID)  # type: ignore[call-arg]
    Suspended().until_event(42, "order-42")  # type: ignore[arg-type]
    Suspended().until_event(PAID, "order-42", within=5)  # type: ignore[arg-type]
    NamedEvent("paid")  # type: ignore[call-arg]
    return execution.received(PAID)  # type: ignore[return-value]


def elsewhere(progress: Elsewhere) -> Elsewhere:
    return progress


def unpaired(metadata: object, progress: object) -> object:
    return metadata


def into_something_else(progress: Waiting) -> Elsewhere:
    return Elsewhere()


async def proceeds(client: Client, blocking: BlockingClient) -> None:
    query = TaskQuery.for_task(pure)
    await client.proceed(query, modify=elsewhere)  # type: ignore[arg-type]
    await client.proceed(query, modify=into_something_else)  # type: ignore[arg-type]
    await client.proceed(query, modify=lambda x: x.nothing)  # type: ignore[attr-defined]
    blocking.proceed(query, modify=elsewhere)  # type: ignore[arg-type]
    client.within(None).proceed(query, modify=elsewhere)  # type: ignore[arg-type]
    await client.proceed(5)  # type: ignore[call-overload]
    pure.with_metadata(Order(1)).start_within(5)  # type: ignore[arg-type]
    pure.with_metadata(Order(1)).with_id(5)  # type: ignore[arg-type]


async def a_handle_of_another_task(client: Client) -> TaskHandle[Lost, Refused]:
    return await client.enqueue(pure.with_metadata(Order(1)))  # type: ignore[arg-type]


async def an_outcome_without_narrowing(handle: TaskHandle[Receipt, Refused]) -> Receipt:
    return (await handle.wait()).result  # type: ignore[union-attr]


# A secret field is checked as any other.


@frozen
class Login:
    """One field is secret."""

    password: str = field(repr=secret)
    user: str


def secrets(login: Login) -> int:
    Login("hunter2")  # type: ignore[call-arg]
    Login(5, "ada")  # type: ignore[arg-type]
    return login.password  # type: ignore[return-value]


# A state machine, of which every handler, every step and every answer is checked, and that none is missing.


@frozen
class Shipped:
    """Another state."""


def go_on(order: Order, waiting: Waiting) -> Next[Shipped]:
    return Next.state(Shipped())


def stay(order: Order, shipped: Shipped) -> Next[Shipped]:
    return Next.state(shipped)


def leave(order: Order, waiting: Waiting) -> Next[Elsewhere]:
    return Next.state(Elsewhere())


async def leave_suspended(order: Order, waiting: Waiting) -> TaskResult[Receipt, Refused, Elsewhere]:
    return Suspended(Elsewhere())


def of_another_request(request: Receipt, waiting: Waiting) -> Next[Shipped]:
    return Next.state(Shipped())


def of_another_result(order: Order, waiting: Waiting) -> TaskResult[Order, Refused]:
    return Success.with_result(order)


async def of_another_error(order: Order, waiting: Waiting) -> TaskResult[Receipt, Lost]:
    return Failure.with_error(Lost())


def of_another_outcome(order: Order, waiting: Waiting) -> Next[Shipped, Order]:
    return Next.state(Shipped()).with_outcome(Success.with_result(order))


async def of_another_execution(order: Order, waiting: Waiting, execution: Execution[Elsewhere]) -> Next[Shipped]:
    return Next.state(Shipped())


def from_elsewhere(order: Order, elsewhere: Elsewhere) -> Next[Shipped]:
    return Next.state(Shipped())


def of_four(order: Order, waiting: Waiting, execution: Execution[Waiting], more: int) -> Next[Shipped]:
    return Next.state(Shipped())


def without_an_answer(order: Order, waiting: Waiting) -> None:
    print(waiting)


def handlers() -> None:
    types = StateMachine.for_states(Waiting | Shipped).for_metadata(Order).for_result(Receipt).for_error(Refused)
    types.with_handler(Waiting, leave)  # type: ignore[arg-type]
    types.with_handler(Waiting, leave_suspended)  # type: ignore[arg-type]
    types.with_handler(Waiting, stay)  # type: ignore[arg-type]
    types.with_handler(Waiting, of_another_request)  # type: ignore[arg-type]
    types.with_handler(Waiting, of_another_result)  # type: ignore[arg-type]
    types.with_handler(Waiting, of_another_error)  # type: ignore[arg-type]
    types.with_handler(Waiting, of_another_outcome)  # type: ignore[arg-type]
    types.with_handler(Waiting, of_another_execution)  # type: ignore[arg-type]
    types.with_handler(Waiting, of_four)  # type: ignore[arg-type]
    types.with_handler(Waiting, without_an_answer)  # type: ignore[arg-type]
    types.with_handler(Waiting, lambda order, waiting: Next.state(Elsewhere()))  # type: ignore[arg-type]
    types.with_handler(Waiting, lambda order, waiting: Success.with_result(order))  # type: ignore[arg-type]
    types.with_handler(Waiting, lambda order, waiting: Next.state(waiting.parcel))  # type: ignore[attr-defined]
    Next.state(Shipped()).with_outcome(Suspended(Waiting()))  # type: ignore[arg-type]
    Next.state(Shipped()).with_outcome(Success)  # type: ignore[arg-type]


def machines() -> None:
    types = StateMachine.for_states(Waiting | Shipped).for_metadata(Order).for_result(Receipt).for_error(Refused)
    most = types.with_handler(Waiting, go_on)
    whole = most.with_handler(Shipped, stay)
    types.build(name="order")  # type: ignore[arg-type]
    most.build(name="order")  # type: ignore[arg-type]
    most.with_handler(Elsewhere, from_elsewhere).build(name="order")  # type: ignore[arg-type]
    whole.with_handler(Elsewhere, from_elsewhere).build(name="order")  # type: ignore[arg-type]
    most.for_error(Lost)  # type: ignore[attr-defined]
    whole.build()  # type: ignore[call-arg]
    whole.build(name="order", blocking=True)  # type: ignore[call-arg]
    whole.build(name="order", queue=5)  # type: ignore[arg-type]
    whole.build(name="order").with_metadata(Receipt(1))  # type: ignore[arg-type]
    whole.build(name="order").with_metadata(Order(1)).with_execution_metadata(Elsewhere())  # type: ignore[arg-type]


# A chain hands over what the next task takes; what a saga asks of its tasks and undos is checked in lambdas too.


@task
def number_order(number: int, progress: Elsewhere) -> TaskResult[Order, Lost]:
    return Success.with_result(Order(number))


def chains() -> None:
    chain(pay)  # type: ignore[misc]
    chain(number_order, number_order)  # type: ignore[misc]
    chain(pay, number_order)  # type: ignore[misc]
    chain(number_order, pay, pay)  # type: ignore[misc]
    chain(number_order, pay, number_order, pay)  # type: ignore[misc]
    chain(number_order, pay, name=5)  # type: ignore[call-overload]
    chain(number_order, pay, blocking=True)  # type: ignore[call-overload]
    chain(number_order, pay).with_metadata(Order(1))  # type: ignore[arg-type]
    chain(number_order, step_from_a_number)  # type: ignore[call-overload]


def sagas() -> None:
    begun = saga(Order)
    paid = begun.step(pay, lambda order, done: order)
    begun.build()  # type: ignore[call-arg]
    begun.undo(pay)  # type: ignore[attr-defined]
    begun.step(pay, lambda order, done: order.id)  # type: ignore[arg-type, return-value]
    begun.step(pay, lambda order, done: order.number)  # type: ignore[attr-defined]
    begun.step(pay, lambda order, done: number_order.with_metadata(1))  # type: ignore[arg-type, return-value]
    begun.step(pay, lambda order: order)  # type: ignore[arg-type, misc]
    begun.step(step_from_a_number, lambda order, done: order.id)  # type: ignore[arg-type]
    begun.fan_out(number_order, lambda order, done: order.id)  # type: ignore[arg-type, return-value]
    begun.fan_out(number_order, lambda order, done: [str(order.id)])  # type: ignore[list-item]
    begun.step(pay, lambda order, done: done.of(pay)[0])  # type: ignore[arg-type, return-value]
    paid.undo(number_order)  # type: ignore[arg-type]
    paid.undo(number_order, lambda order, receipt: receipt)  # type: ignore[arg-type, return-value]
    paid.undo(number_order, lambda order, receipt: receipt.operation)  # type: ignore[attr-defined]
    paid.undo(number_order, lambda order, receipt: receipt.number).undo(pay)  # type: ignore[attr-defined]
    paid.for_result(str, lambda order, done: order.name)  # type: ignore[attr-defined]
    paid.build(name="paid", cpu_bound=True)  # type: ignore[call-arg]
    paid.build(name="paid").with_metadata(Receipt(1))  # type: ignore[arg-type]


# A schedule has a request, and terms that are values.


async def schedules(client: Client, request: TaskRequest[Order, Waiting, Receipt, Refused]) -> None:
    Schedule("nightly", request, "0 3 * * *")  # type: ignore[arg-type]
    Schedule("nightly", Order(1), daily())  # type: ignore[arg-type]
    Schedule("nightly", request, daily(), overlap="skip")  # type: ignore[arg-type]
    await client.schedule(request)  # type: ignore[arg-type]
    await client.trigger(7)  # type: ignore[arg-type]


# The testing kit knows the types of what it is given.


def planting(world: list[int]) -> Task[Order, Waiting, Receipt, Refused]:
    raise NotImplementedError(world)


async def testing_kit(clock: VirtualClock, store: Store) -> None:
    await crash_matrix(planting, Receipt(1), world=list[int], observe=len)  # type: ignore[arg-type]
    await crash_matrix(planting, Order(1), world=set[int], observe=len)  # type: ignore[misc]
    await crash_matrix(planting, Order(1), world=list[int], observe=len, cuts="all")  # type: ignore[arg-type]
    await crash_matrix(planting, Order(1), world=list[int])  # type: ignore[call-arg]
    assert_enqueued(store, Order(1))  # type: ignore[arg-type]
    assert_enqueued(Order(1), planting([]))  # type: ignore[arg-type]
    clock.advance("1 day")  # type: ignore[arg-type]


# A value says what it says for good.


def changes(success: Success[Receipt]) -> None:
    success.result = Receipt(2)  # type: ignore[misc]
