"""What a user writes and both checkers accept, with the types that they see. Only checked, never run.

mypy --strict and pyright strict, no plugin, no ignore.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Never, assert_never, assert_type
from uuid import uuid4

from attrs import evolve, field, frozen
from returns.result import Result

from milepost import (
    ALL_FINISHED,
    BlockingClient,
    BlockingExecution,
    BlockingGroupHandle,
    BlockingTaskHandle,
    BulkSummary,
    CancelAccepted,
    Cancellation,
    CancelRefused,
    ChainBroken,
    ChainState,
    ChildCount,
    Children,
    Client,
    CompatibilityReport,
    Crash,
    DeleteRefused,
    Empty,
    EnqueueRefusal,
    Execution,
    Failure,
    GroupHandle,
    LogLine,
    ModificationFailed,
    NamedEvent,
    Next,
    Outcome,
    Overlap,
    PayloadRefused,
    ProceedRefused,
    PruneSummary,
    RequeueRefused,
    Retention,
    Retry,
    SagaFailed,
    SagaState,
    Schedule,
    ScheduleInfo,
    ScheduleNotFound,
    ScheduleSync,
    SentTo,
    SeveralTasksFound,
    StateMachine,
    Statement,
    StepResults,
    Store,
    Success,
    Suspended,
    Task,
    TaskGroup,
    TaskHandle,
    TaskId,
    TaskNotFound,
    TaskPage,
    TaskQuery,
    TaskRecord,
    TaskRequest,
    TaskResult,
    TaskState,
    Transaction,
    TriggerRefused,
    WrongState,
    chain,
    check_compatibility,
    check_compatibility_blocking,
    daily,
    from_result,
    group,
    saga,
    secret,
    sync_schedules,
    task,
)
from milepost.machine import MachineTask
from milepost.results import TaskValue
from milepost.testing import EVERY_CHECKPOINT, CrashReport, OpenExecutor, VirtualClock, assert_enqueued, crash_matrix


@frozen
class Order:
    """Metadata."""

    id: int


@frozen
class Waiting:
    """Execution metadata."""

    operation: str = ""


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


# Builders: every form, and what it is.


def successes() -> None:
    assert_type(Success.with_result(Receipt(1)), Success[Receipt])
    assert_type(Success.with_result(Receipt(1)).for_error(Refused), Success[Receipt, Refused])
    assert_type(Success.with_result(Receipt(1)).for_error(Refused | Lost), Success[Receipt, Refused | Lost])
    assert_type(Success.with_result(Receipt(1)).for_empty_error(), Success[Receipt, Empty])
    assert_type(Success.with_empty_result(), Success[Empty])
    assert_type(Success.with_empty_result().for_empty_error(), Success[Empty, Empty])
    assert_type(Success.with_result(None).for_error(Lost), Success[None, Lost])


def failures() -> None:
    assert_type(Failure.with_error(Lost()), Failure[Never, Lost])
    assert_type(Failure.with_empty_error(), Failure[Never, Empty])
    assert_type(Failure.for_result(Receipt).with_error(Lost()), Failure[Receipt, Lost])
    assert_type(Failure.for_result(Receipt | None).with_error(Lost()), Failure[Receipt | None, Lost])
    assert_type(Failure.for_result(Receipt).with_empty_error(), Failure[Receipt, Empty])
    assert_type(Failure.for_empty_result().with_error(Lost()), Failure[Empty, Lost])
    assert_type(Failure.for_empty_result().with_empty_error(), Failure[Empty, Empty])
    assert_type(Failure.for_result(Receipt).with_error(Lost()).final(), Failure[Receipt, Lost])
    assert_type(Failure.with_error(Lost()).retry_after(timedelta(seconds=1)), Failure[Never, Lost])


def suspensions(moment: datetime) -> None:
    assert_type(Suspended.for_result(Receipt).for_error(Lost), Suspended[Receipt, Lost])
    assert_type(Suspended.for_result(Receipt).for_empty_error(), Suspended[Receipt, Empty])
    assert_type(Suspended.for_empty_result().for_error(Lost), Suspended[Empty, Lost])
    carrying = Suspended.with_execution_metadata(Waiting("a"))
    assert_type(carrying.for_result(Receipt).for_error(Lost), Suspended[Receipt, Lost, Waiting])
    assert_type(carrying.for_empty_result().for_empty_error(), Suspended[Empty, Empty, Waiting])
    parked = Suspended.for_result(Receipt).for_error(Lost)
    assert_type(parked.until(moment), Suspended[Receipt, Lost])
    assert_type(parked.after(timedelta(hours=1)), Suspended[Receipt, Lost])
    assert_type(parked.at_once(), Suspended[Receipt, Lost])
    assert_type(parked.until_finished(), Suspended[Receipt, Lost])


def cancellations() -> None:
    assert_type(Cancellation.with_error(Lost()), Cancellation[Never, Lost])
    assert_type(Cancellation.with_empty_error(), Cancellation[Never, Empty])
    assert_type(Cancellation.for_result(Receipt).with_error(Lost()), Cancellation[Receipt, Lost])
    assert_type(Cancellation.for_result(Receipt).with_empty_error(), Cancellation[Receipt, Empty])
    assert_type(Cancellation.for_empty_result().with_error(Lost()), Cancellation[Empty, Lost])


# Short forms fit where the declared type is wider: covariance, and Never where nothing was said.


def short_forms(choice: int, moment: datetime) -> TaskResult[Receipt, Refused | Lost, Waiting]:
    match choice:
        case 0:
            return Success.with_result(Receipt(1))
        case 1:
            return Failure.with_error(Lost()).final()
        case 2:
            return Cancellation.with_error(Refused("no"))
        case 3:
            return Suspended()
        case 4:
            return Suspended(Waiting("a"))
        case 5:
            return Suspended().until(moment)
        case _:
            return Suspended(Waiting("a")).after(timedelta(hours=1))


# The algebra.


def algebra(result: TaskResult[int, Refused]) -> None:
    assert_type(result.map(str), TaskResult[str, Refused])
    assert_type(result.alt(lambda _: Lost()), TaskResult[int, Lost])
    assert_type(result.bind(checked), TaskResult[Receipt, Refused | Lost])
    assert_type(result.lash(recovered), TaskResult[int | Receipt, Refused | Lost])
    assert_type(result.swap(), TaskResult[Refused, int | Refused])
    assert_type(result.value_or(None), int | None)
    assert_type(result.bind_result(parsed), TaskResult[str, Refused | Lost])


def algebra_of_the_base(result: TaskValue[int, Refused, Waiting]) -> None:
    assert_type(result.map(str), TaskResult[str, Refused, Waiting])
    assert_type(result.map(lambda n: n * 1.5), TaskResult[float, Refused, Waiting])
    assert_type(result.alt(lambda _: Lost()), TaskResult[int, Lost, Waiting])
    assert_type(result.bind(checked), TaskResult[Receipt, Refused | Lost, Waiting])
    assert_type(result.lash(recovered), TaskResult[int | Receipt, Refused | Lost, Waiting])
    assert_type(result.swap(), TaskResult[Refused, int | Refused, Waiting])
    assert_type(result.value_or(None), int | None)
    assert_type(result.bind_result(parsed), TaskResult[str, Refused | Lost, Waiting])


def checked(value: int) -> TaskResult[Receipt, Lost]:
    return Success.with_result(Receipt(value)) if value else Failure.with_error(Lost())


def recovered(error: Refused) -> TaskResult[Receipt, Lost]:
    return Success.with_result(Receipt(0)) if error.reason else Failure.with_error(Lost())


def parsed(value: int) -> Result[str, Lost]:
    return Result.from_value(str(value))


def bridges(result: TaskResult[int, Refused], other: Result[int, Refused]) -> None:
    assert_type(from_result(other), TaskResult[int, Refused])
    assert_type(
        result.to_result(), Result[int, Failure[int, Refused] | Suspended[int, Refused] | Cancellation[int, Refused]]
    )


def pipeline(result: TaskResult[int, Refused, Waiting]) -> TaskResult[str, Refused | Lost, Waiting]:
    return result.map(abs).bind(checked).map(lambda receipt: receipt.number).bind_result(parsed)


def execution_metadata_of_a_base(value: TaskValue[int, Refused, Waiting]) -> TaskResult[str, Refused, Waiting]:
    return value.map(str)


# One match over the four, and one over what a reader of a finished task gets, both complete.


def told(result: TaskResult[Receipt, Refused, Waiting]) -> str:
    match result:
        case Success(result=receipt):
            return str(assert_type(receipt, Receipt).number)
        case Suspended():
            return "parked"
        case Failure(error=error) | Cancellation(error=error):
            return assert_type(error, Refused).reason
        case _:
            assert_never(result)


def ended(outcome: Outcome[Receipt, Refused]) -> str:
    match outcome:
        case Success(result=receipt):
            return str(receipt.number)
        case Failure(error=error) | Cancellation(error=error):
            return error.reason
        case Crash(kind=kind, message=message):
            return f"{kind.value}: {message}"


# Tasks: three shapes, told apart by their signature; with and without options.


@task
def pure(metadata: Order, progress: Waiting) -> TaskResult[Receipt, Refused]:
    return Success.with_result(Receipt(metadata.id)) if progress.operation else Suspended()


@task
async def simple(metadata: Order, progress: Waiting) -> TaskResult[Receipt, Refused | Lost, Waiting]:
    return Suspended(Waiting("a")) if metadata.id else Failure.with_error(Lost())


@task(name="order", version=2, queue="bulk", priority=5, retry=Retry.fixed(2, timedelta(seconds=1)), timeout_seconds=5)
async def committing(metadata: Order, progress: Waiting, execution: Execution[Waiting]) -> TaskResult[Receipt, Refused]:
    await execution.commit(Waiting("a"))
    charged = await execution.commit_after(charge, Waiting("charged"))
    assert_type(charged, Result[int, Lost])
    noted = await execution.commit_with(note, lambda rows: Waiting(str(rows)))
    assert_type(noted, Result[int, Lost])
    execution.report(0.5, "half")
    return Success.with_result(Receipt(metadata.id))


@task(blocking=True)
def blocking(metadata: Order, progress: Waiting) -> TaskResult[Receipt, Refused]:
    return Success.with_result(Receipt(metadata.id))


@task(blocking=True)
def blocking_committing(
    metadata: Order, progress: Waiting, execution: BlockingExecution[Waiting]
) -> TaskResult[Receipt, Refused]:
    execution.commit(Waiting("a"))
    return Success.with_result(Receipt(metadata.id))


@task(cpu_bound=True)
def computed(metadata: Order, progress: Empty) -> Success[Receipt] | Failure[Never, Lost]:
    return Success.with_result(Receipt(metadata.id))


@task
async def plain(metadata: dict[str, int], progress: None) -> TaskResult[list[str], str]:
    return Success.with_result(sorted(metadata))


async def charge() -> Result[int, Lost]:
    return Result.from_value(1)


def note(transaction: Transaction) -> Result[int, Lost]:
    return Result.from_value(len(transaction.execute("select 1")))


async def calls(execution: Execution[Waiting], blocking_execution: BlockingExecution[Waiting]) -> None:
    order, progress = Order(1), Waiting()
    assert_type(pure(order, progress), TaskResult[Receipt, Refused])
    assert_type(await simple(order, progress), TaskResult[Receipt, Refused | Lost, Waiting])
    assert_type(await committing(order, progress, execution), TaskResult[Receipt, Refused])
    assert_type(blocking(order, progress), TaskResult[Receipt, Refused])
    assert_type(blocking_committing(order, progress, blocking_execution), TaskResult[Receipt, Refused])
    assert_type(computed(order, Empty()), TaskResult[Receipt, Lost])
    assert_type(await plain({"a": 1}, None), TaskResult[list[str], str])


def requests() -> Sequence[TaskRequest]:
    request = committing.with_metadata(Order(1))
    assert_type(request, TaskRequest[Order, Waiting, Receipt, Refused])
    changed = request.with_execution_metadata(Waiting("a")).with_key("order-1").with_priority(5).in_queue("bulk")
    assert_type(
        changed.after(timedelta(minutes=5)).with_correlation("1"), TaskRequest[Order, Waiting, Receipt, Refused]
    )
    return [request, pure.with_metadata(Order(2)), plain.with_metadata({})]


def typed(any_shape: Task[Order, Waiting, Receipt, Refused]) -> str:
    return any_shape.name


def shapes_are_tasks() -> list[Task]:
    typed(pure)
    typed(committing)
    typed(blocking_committing)
    return [pure, simple, committing, blocking, blocking_committing, computed, plain]


# Dependencies are closures.


class Database:
    """A dependency."""

    async def save(self, order: Order) -> int:
        """Store `order`."""
        return order.id


def tasks(database: Database) -> list[Task]:
    @task
    async def stored(metadata: Order, progress: Empty) -> TaskResult[Receipt, Lost]:
        return Success.with_result(Receipt(await database.save(metadata)))

    assert_type(stored.with_metadata(Order(1)), TaskRequest[Order, Empty, Receipt, Lost])
    return [stored]


# Follow-ups and effects: the narrow class stays, so every other method chains.


def carried(moment: datetime) -> None:
    follow_up, effect = pure.with_metadata(Order(1)), Statement("delete from cart where id = ?", [1])
    success = Success.with_result(Receipt(1)).for_error(Lost).then_enqueue(follow_up, follow_up).with_effects(effect)
    assert_type(success, Success[Receipt, Lost])
    assert_type(Suspended().then_enqueue(follow_up).until_finished().with_effects(effect), Suspended)
    assert_type(Failure.with_error(Lost()).with_effects(effect).final(), Failure[Never, Lost])
    assert_type(Cancellation.with_error(Lost()).then_enqueue(follow_up), Cancellation[Never, Lost])
    together = group([follow_up, group([follow_up])], then=follow_up, on=ALL_FINISHED, fail_fast=True)
    assert_type(Suspended().then_enqueue(follow_up, together).until_finished(fail_fast=True), Suspended)


async def joined(execution: Execution[Waiting], blocking: BlockingExecution[Waiting]) -> None:
    assert_type(execution.children.of(pure), list[Outcome[Receipt, Refused]])
    assert_type(blocking.children.of(pure), list[Outcome[Receipt, Refused]])
    assert_type([outcome for outcome in execution.children.of(pure) if isinstance(outcome, Crash)], list[Crash])


# What follows of an end: for one task's types, or for any.


def make_good(order: Order, waiting: Waiting, outcome: Outcome[Receipt, Lost]) -> Sequence[TaskRequest | TaskGroup]:
    return [pure.with_metadata(order), group([])] if isinstance(outcome, Failure) else []


def tell(order: object, waiting: object, outcome: Outcome[object, object], children: Children) -> list[TaskRequest]:
    return []


@task(on_outcome=make_good, name="hooked", retry=Retry.never())
async def hooked(order: Order, waiting: Waiting, execution: Execution[Waiting]) -> TaskResult[Receipt, Lost, Waiting]:
    return Suspended(waiting)


@task(on_outcome=tell)
def hooked_by_any(order: Order, waiting: Waiting) -> TaskResult[Receipt, Lost]:
    return Failure.with_error(Lost())


@task(blocking=True, on_outcome=make_good)
def hooked_thread(order: Order, waiting: Waiting, execution: BlockingExecution[Waiting]) -> TaskResult[Receipt, Lost]:
    return Failure.with_error(Lost())


@task(cpu_bound=True, on_outcome=tell)
def hooked_process(order: Order, waiting: Waiting) -> TaskResult[Receipt, Lost]:
    return Failure.with_error(Lost())


@task(on_outcome=lambda order, waiting, outcome: [])
def hooked_by_lambda(order: Order, waiting: Waiting) -> TaskResult[Receipt, Lost]:
    return Failure.with_error(Lost())


async def hooked_tasks(execution: Execution[Waiting]) -> None:
    assert_type(hooked.with_metadata(Order(1)), TaskRequest[Order, Waiting, Receipt, Lost])
    assert_type(await hooked(Order(1), Waiting(), execution), TaskResult[Receipt, Lost, Waiting])
    assert_type(hooked_by_any(Order(1), Waiting()), TaskResult[Receipt, Lost])
    assert_type(hooked_thread.with_metadata(Order(1)), TaskRequest[Order, Waiting, Receipt, Lost])
    assert_type(hooked_process(Order(1), Waiting()), TaskResult[Receipt, Lost])
    assert_type(hooked_by_lambda(Order(1), Waiting()), TaskResult[Receipt, Lost])


# Clients: handles know what their task answers with; refusals are values.


async def client_verbs(client: Client, id: TaskId) -> None:
    handle = await client.enqueue(committing.with_metadata(Order(1)))
    assert_type(handle, TaskHandle[Receipt, Refused])
    assert_type(await handle.wait(timeout_seconds=30), Outcome[Receipt, Refused])
    assert_type(await client.wait(handle), Outcome[Receipt, Refused])
    assert_type(
        await client.enqueue_all([pure.with_metadata(Order(1)), pure.with_metadata(Order(2))]),
        list[TaskHandle[Receipt, Refused]],
    )
    assert_type(await client.try_enqueue(plain.with_metadata({})), Result[TaskHandle[list[str], str], EnqueueRefusal])
    assert_type(await client.get(id), Result[TaskRecord, TaskNotFound])
    assert_type(await client.cancel(id, reason="moot"), Result[CancelAccepted, CancelRefused])
    assert_type(await client.requeue(id, from_start=True), Result[TaskRecord, RequeueRefused])
    assert_type(await client.requeue(id, edit=lambda m, x: (m, x), by="ada"), Result[TaskRecord, RequeueRefused])
    assert_type(await client.delete(id), Result[TaskRecord, DeleteRefused])
    dead = TaskQuery.for_task(committing).dead_letters()
    assert_type(await client.cancel_all(dead, reason="moot", by="ada"), BulkSummary)
    assert_type(await client.requeue_all(dead, edit=lambda m, x: (m, Waiting(x.operation + "!"))), BulkSummary)
    assert_type(await client.proceed_all(dead, modify=lambda x: Waiting(x.operation)), BulkSummary)
    assert_type(await client.delete_all(TaskQuery(), everything=True), BulkSummary)
    assert_type(await client.logs(id), list[LogLine])
    assert_type(await client.prune(Retention(completed=timedelta(days=7))), PruneSummary)
    assert_type(await client.send_event(PAID, "order-42", Receipt(1)), SentTo)
    assert_type(await client.send_event("paid", "order-42", {"number": 1}, id="w1", keep=timedelta(days=1)), SentTo)


def blocking_client_verbs(client: BlockingClient, id: TaskId) -> None:
    handle = client.enqueue(committing.with_metadata(Order(1)))
    assert_type(handle, BlockingTaskHandle[Receipt, Refused])
    assert_type(handle.wait(timeout_seconds=30), Outcome[Receipt, Refused])
    assert_type(client.get(id), Result[TaskRecord, TaskNotFound])
    assert_type(client.send_event(PAID, "order-42", Receipt(1)), SentTo)
    assert_type(client.within(object()).send_event(PAID, "order-42", Receipt(1)), SentTo)


PAID = NamedEvent("paid", Receipt)


@task
async def awaiting(order: Order, _: Waiting, execution: Execution[Waiting]) -> TaskResult[Receipt, Refused, Waiting]:
    assert_type(PAID, NamedEvent[Receipt])
    assert_type(execution.received(PAID), Receipt | None)
    assert_type(NamedEvent("named", str | None), NamedEvent[str | None])
    plain = execution.received("paid")
    if plain is not None:
        return Success.with_result(Receipt(plain["number"]))
    waits = Suspended.with_execution_metadata(Waiting("a")).for_result(Receipt).for_error(Refused)
    return waits.until_event(PAID, "order-42", within=timedelta(days=7))


@task(blocking=True)
def awaiting_in_a_thread(
    order: Order, _: Waiting, execution: BlockingExecution[Waiting]
) -> TaskResult[Receipt, Refused]:
    receipt = execution.received(PAID)
    assert_type(receipt, Receipt | None)
    return Suspended().until_event("paid", "order-42") if receipt is None else Success.with_result(receipt)


async def groups(client: Client, blocking: BlockingClient, connection: object) -> None:
    requests: list[TaskRequest | TaskGroup] = [
        pure.with_metadata(Order(1)),
        group([committing.with_metadata(Order(2))]),
    ]
    counted = await client.enqueue_group(requests, on=ALL_FINISHED)
    assert_type(counted, GroupHandle[ChildCount, ChildCount])
    assert_type(await counted.wait(), Outcome[ChildCount, ChildCount])
    typed = await client.enqueue_group(requests, pure.with_metadata(Order(3)), fail_fast=True)
    assert_type(await typed.wait(1), Outcome[Receipt, Refused])
    assert_type(await typed.progress(), ChildCount)
    assert_type(await typed.cancel(reason="late"), Result[CancelAccepted, CancelRefused])
    assert_type(blocking.enqueue_group(requests), BlockingGroupHandle[ChildCount, ChildCount])
    assert_type(blocking.enqueue_group(requests, pure.with_metadata(Order(3))).wait(), Outcome[Receipt, Refused])
    assert_type(client.within(connection).enqueue_group(requests), GroupHandle[ChildCount, ChildCount])
    assert_type(await client.requeue(typed, descendants=True), Result[TaskRecord, RequeueRefused])
    assert_type(await client.count(TaskQuery().with_parent(typed.id).with_schedule("nightly")), int)


async def queries(client: Client) -> None:
    query = TaskQuery.for_task(committing).with_state(TaskState.SUSPENDED).with_metadata(id=42)
    assert_type(query, TaskQuery[Waiting])
    assert_type(query.with_execution_metadata(Waiting("a")), TaskQuery[Waiting])
    assert_type(await client.search(query), TaskPage)
    assert_type(await client.count(TaskQuery()), int)


def approved(waiting: Waiting) -> Waiting:
    return evolve(waiting, operation="approved")


async def proceeds(client: Client, blocking: BlockingClient, id: TaskId, connection: object) -> None:
    query = TaskQuery.for_task(committing).with_execution_metadata(operation="abc")
    answer = await client.proceed(query, modify=lambda x: evolve(x, operation="b"), at=None)
    assert_type(answer, Result[TaskRecord, ProceedRefused])
    assert_type(await client.proceed(query, modify=approved), Result[TaskRecord, ProceedRefused])
    assert_type(await client.proceed(query), Result[TaskRecord, ProceedRefused])
    assert_type(await client.proceed(id, modify=lambda x: {**x, "n": 1}), Result[TaskRecord, ProceedRefused])
    handle = await client.enqueue(committing.with_metadata(Order(1)).with_id(uuid4()).start_within(timedelta(1)))
    assert_type(await client.proceed(handle, modify=approved), Result[TaskRecord, ProceedRefused])
    assert_type(await client.cancel(handle), Result[CancelAccepted, CancelRefused])
    assert_type(blocking.proceed(query, modify=approved), Result[TaskRecord, ProceedRefused])
    own = client.within(connection)
    assert_type(own.proceed(query, modify=approved), Result[TaskRecord, ProceedRefused])
    assert_type(own.cancel(handle, reason="moot"), Result[CancelAccepted, CancelRefused])
    assert_type(blocking.within(connection).proceed(id), Result[TaskRecord, ProceedRefused])


def why_not_proceeded(refused: ProceedRefused) -> str:
    match refused:
        case TaskNotFound(id):
            return f"{id} is not there"
        case SeveralTasksFound(ids):
            return f"{len(ids)} are there"
        case WrongState(state):
            return state.value
        case ModificationFailed(reason):
            return reason
        case _:
            assert_never(refused)


@frozen
class Login:
    """A secret field is an ordinary one for the checkers: required unless it has a default, and of its own type."""

    password: str = field(repr=secret)
    user: str
    token: str = field(default="", repr=secret)


def secrets() -> None:
    login = Login("hunter2", "ada")
    assert_type(login.password, str)
    assert_type(Login("hunter2", user="ada", token="t").token, str)


async def compatible(store: Store) -> None:
    assert_type(await check_compatibility(store, [pure, committing], final=True), CompatibilityReport)
    report = check_compatibility_blocking(store, (pure,))
    assert_type([each.example_ids for each in report.incompatible], list[tuple[TaskId, ...]])
    assert_type(report.is_clean, bool)
    assert_type(pure.shown(TaskRecord(id=TaskId("1"), name="a", created_at=datetime.min)), TaskRecord)


async def wider_handles(handle: TaskHandle[Receipt, Refused]) -> list[TaskHandle]:
    await told_by_a_wider_handle(handle)
    return [handle]


async def told_by_a_wider_handle(handle: TaskHandle[Receipt | None, Refused | Lost]) -> None:
    assert_type(await handle.wait(), Outcome[Receipt | None, Refused | Lost])


# State machines: the builder knows every type, so handlers need no annotations, and lambdas see theirs.


@frozen
class Shipped:
    """Another state."""


def go_on(order: Order, waiting: Waiting) -> Next[Shipped]:
    return Next.state(Shipped())


async def end_or_go_on(
    order: Order, waiting: Waiting, execution: Execution[Waiting | Shipped]
) -> Next[Waiting | Shipped, Receipt, Refused] | TaskResult[Receipt, Refused]:
    match waiting.operation:
        case "":
            return Next.state(Waiting("a")).with_outcome(Suspended().after(timedelta(hours=1)))
        case "lost":
            return Next.state(Shipped()).with_outcome(Failure.with_error(Refused("lost")).final())
        case _:
            return Success.with_result(Receipt(order.id))


def suspend_elsewhere(order: Order, shipped: Shipped) -> TaskResult[Receipt, Refused, Waiting]:
    return Suspended(Waiting("again"))


class Handlers:
    """Handlers may be methods."""

    async def on_shipped(self, order: Order, shipped: Shipped) -> Success[Receipt]:
        """End."""
        return Success.with_result(Receipt(order.id))


async def state_machines(execution: Execution[Waiting | Shipped], client: Client) -> None:
    types = StateMachine.for_states(Waiting | Shipped).for_metadata(Order).for_result(Receipt).for_error(Refused)
    order = types.with_handler(Waiting, go_on).with_handler(Shipped, suspend_elsewhere).build(name="order")
    assert_type(order, MachineTask[Order, Waiting | Shipped, Receipt, Refused])
    assert_type(await order(Order(1), Waiting(), execution), TaskResult[Receipt, Refused, Waiting | Shipped])
    request = order.with_metadata(Order(1)).with_execution_metadata(Waiting())
    assert_type(request, TaskRequest[Order, Waiting | Shipped, Receipt, Refused])
    assert_type(await client.enqueue(request), TaskHandle[Receipt, Refused])
    assert_type(TaskQuery.for_task(order).with_execution_metadata(Waiting("a")), TaskQuery[Waiting | Shipped])
    assert_type(order.diagram(), str)
    assert_type(order.mermaid(), str)


def machines_in_other_words() -> list[Task]:
    types = StateMachine.for_states(Waiting | Shipped).for_error(Refused).for_result(Receipt).for_metadata(Order)
    first = (
        types.with_handler(Shipped, Handlers().on_shipped)
        .with_handler(Waiting, end_or_go_on)
        .build(name="first", step_limit=10, queue="bulk", retry=Retry.never(), timeout_seconds=5)
    )
    second = (
        types.with_handler(Waiting, lambda order, waiting: Next.state(Waiting(waiting.operation + str(order.id))))
        .with_handler(Shipped, lambda order, shipped, execution: Success.with_result(Receipt(execution.attempt)))
        .build(name="second")
    )
    third = (
        StateMachine.for_states(Waiting)
        .with_handler(Waiting, lambda _, waiting: Next.state(waiting).with_outcome(Success.with_empty_result()))
        .build(name="third")
    )
    assert_type(third, MachineTask[Empty, Waiting, Empty, Empty])
    return [first, second, third]


# Flows: a chain has the metadata of its first task, the result of its last and the errors of all; lambdas of a saga see
# its metadata, the results of the steps before and what is to be undone.


@task
def order_number(text: str, _: Empty) -> TaskResult[Order, str]:
    return Success.with_result(Order(int(text)))


@task
async def ship_order(order: Order, _: Empty) -> TaskResult[Receipt, Refused]:
    return Success.with_result(Receipt(order.id))


@task
def print_receipt(receipt: Receipt, _: Empty) -> TaskResult[int, Empty]:
    return Success.with_result(1)


@task
def add_one(number: int, _: Empty) -> TaskResult[int, str]:
    return Success.with_result(number + 1)


async def chains(client: Client, execution: Execution[ChainState]) -> list[Task]:
    printed = chain(order_number, ship_order, print_receipt)
    assert_type(await client.enqueue(printed.with_metadata("1")), TaskHandle[int, str | Refused | Empty | ChainBroken])
    assert_type(
        await printed("1", ChainState(), execution), TaskResult[int, str | Refused | Empty | ChainBroken, ChainState]
    )
    two = chain(order_number, ship_order, name="two", retry=Retry.never(), queue="bulk")
    assert_type(await client.enqueue(two.with_metadata("1")), TaskHandle[Receipt, str | Refused | ChainBroken])
    six = chain(two, print_receipt, add_one, add_one, add_one, add_one)
    assert_type(await client.enqueue(six.with_metadata("1")), TaskHandle[int, str | Refused | ChainBroken | Empty])
    any_number = chain(*[add_one for _ in range(50)], name="any-number")
    assert_type(await client.enqueue(any_number.with_metadata(1)), TaskHandle[int, str | ChainBroken])
    return [
        printed,
        two,
        six,
        any_number,
        chain(two, print_receipt, add_one, add_one),
        chain(two, print_receipt, add_one, add_one, add_one),
    ]


def numbers_of(order: Order, done: StepResults) -> list[int]:
    return [order.id, *done.of(add_one)]


async def sagas(client: Client) -> None:
    shipping = (
        saga(Order)
        .step(ship_order, lambda order, done: order)
        .undo(print_receipt)
        .fan_out(add_one, lambda order, done: [receipt.number for receipt in done.of(ship_order)])
        .undo(order_number, lambda order, number: order_number.with_metadata(str(order.id + number)).with_priority(5))
        .fan_out(add_one, numbers_of, name="add-more")
        .step(add_one, lambda order, done: add_one.with_metadata(done.one(add_one)), name="add-last")
        .for_result(Receipt, lambda order, done: done.one(ship_order))
        .build(name="shipping", priority=1)
    )
    handle = await client.enqueue(shipping.with_metadata(Order(1)))
    assert_type(handle, TaskHandle[Receipt, SagaFailed[Refused | str | Crash]])
    assert_type(TaskQuery.for_task(shipping), TaskQuery[SagaState])
    nothing = saga(Order).step(add_one, lambda order, done: order.id).build(name="nothing")
    assert_type(await client.enqueue(nothing.with_metadata(Order(1))), TaskHandle[Empty, SagaFailed[str | Crash]])
    match await handle.wait():
        case Failure(error=SagaFailed(error=Refused())):
            pass
        case _:
            pass


# Schedules.


async def schedules(client: Client, blocking: BlockingClient, store: Store) -> None:
    nightly = Schedule("nightly", ship_order.with_metadata(Order(1)), daily().at("03:00"), overlap=Overlap.QUEUE)
    assert_type(await client.schedule(nightly), Result[ScheduleInfo, PayloadRefused])
    assert_type(blocking.schedule(nightly), Result[ScheduleInfo, PayloadRefused])
    assert_type(await client.unschedule("nightly"), Result[ScheduleInfo, ScheduleNotFound])
    assert_type(blocking.pause_schedule(nightly), Result[ScheduleInfo, ScheduleNotFound])
    assert_type(await client.trigger(nightly), Result[TaskId, TriggerRefused])
    assert_type(await client.schedules(), list[ScheduleInfo])
    assert_type(await client.sync_schedules([nightly]), Result[ScheduleSync, PayloadRefused])
    assert_type(await sync_schedules(store, [nightly], prune=True), Result[ScheduleSync, PayloadRefused])
    assert_type(await sync_schedules(blocking, [nightly]), Result[ScheduleSync, PayloadRefused])


async def scheduled(execution: Execution[Order]) -> None:
    assert_type(execution.scheduled_at, datetime | None)


# The testing kit: the world of a crash matrix is whatever its function makes, and a clock runs what is async.


class World:
    """What a task changes outside."""

    def __init__(self) -> None:
        self.rows: list[int] = []


def placing_into(world: World) -> Task[Order, Waiting, Receipt, Refused]:
    return committing


async def testing_kit(clock: VirtualClock, store: Store, open_an_executor: OpenExecutor) -> None:
    report = await crash_matrix(
        lambda world: placing_into(world),
        Order(1),
        world=World,
        observe=lambda world: sorted(world.rows),
        cuts=EVERY_CHECKPOINT,
        execution_metadata=Waiting(),
    )
    assert_type(report, CrashReport)
    assert_type(report.cuts, int)
    assert_type([each.more for each in report.differences], list[tuple[str, ...]])
    text: str = report
    assert_enqueued(store, committing, committing.with_metadata(Order(1)))
    assert_enqueued(Success.with_result(1).then_enqueue(committing.with_metadata(Order(1))), committing)
    async with open_an_executor(committing) as executor:
        print(executor.id, text)


def running_by_a_clock(clock: VirtualClock, client: Client) -> None:
    async def number(of: Order) -> int:
        return of.id

    assert_type(clock.run(number, Order(1)), int)
    assert_type(clock.now(), datetime)
