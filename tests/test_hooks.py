"""`on_outcome` as it is defined, and the task that calls it as a value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
from attrs import frozen

from milepost import (
    Cancellation,
    Children,
    Crash,
    CrashKind,
    Empty,
    Failure,
    Outcome,
    Retry,
    Success,
    Task,
    TaskDefinitionError,
    TaskId,
    TaskRecord,
    TaskRequest,
    TaskResult,
    TaskState,
    task,
)
from milepost.clock import EPOCH
from milepost.lifecycle.hooks import companion, is_companion
from milepost.payload import JsonText
from milepost.registry import Registry


def quiet(metadata: object, progress: object, outcome: Outcome[object, object]) -> list[TaskRequest]:
    return []


@frozen
class Order:
    number: int


@task(on_outcome=quiet)
def sell(metadata: Order, progress: int) -> TaskResult[int | None, str]:
    return Success.with_result(1)


def ended(state: TaskState, **fields: Any) -> TaskRecord:
    given: dict[str, Any] = {"metadata_json": JsonText('{"number":7}'), "execution_metadata_json": JsonText("3")}
    return TaskRecord(id=TaskId("a"), name="sell", state=state, created_at=EPOCH, **{**given, **fields})


def the_companion() -> Task:
    return Registry.of([sell]).tasks["sell:on-outcome"]


def test_whoever_registers_a_task_registers_the_one_that_calls_its_on_outcome() -> None:
    assert list(Registry.of([sell]).tasks) == ["sell", "sell:on-outcome"]
    assert list(Registry.of([sell, *sell.parts]).tasks) == ["sell", "sell:on-outcome"]


def test_parts_of_parts_are_registered_and_a_name_that_is_taken_is_refused() -> None:
    @task
    def inner(metadata: int, progress: int) -> TaskResult[int, str]:
        return Success.with_result(1)

    @task(name="inner")
    def other(metadata: int, progress: int) -> TaskResult[int, str]:
        return Success.with_result(1)

    @task
    def outer(metadata: int, progress: int) -> TaskResult[int, str]:
        return Success.with_result(1)

    whole = outer.with_parts(sell.with_parts(inner))
    assert list(Registry.of([whole]).tasks) == ["outer", "sell", "sell:on-outcome", "inner"]
    with pytest.raises(TaskDefinitionError, match="two tasks have the name 'inner'"):
        Registry.of([whole, other])


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        (ended(TaskState.COMPLETED, result_json=JsonText("5")), Success(5)),
        (ended(TaskState.COMPLETED, result_json=JsonText("null")), Success(None)),
        (ended(TaskState.FAILED, error_json=JsonText('"no"')), Failure("no")),
        (ended(TaskState.CANCELLED, error_json=JsonText('"no"')), Cancellation("no")),
        (ended(TaskState.FAILED, crash=Crash(CrashKind.TIMEOUT, "slow")), Crash(CrashKind.TIMEOUT, "slow")),
        (ended(TaskState.CANCELLED, crash=Crash(CrashKind.CANCELLED)), Crash(CrashKind.CANCELLED)),
    ],
)
def test_all_of_an_end_reaches_the_hook(record: TaskRecord, outcome: Outcome[Any, Any]) -> None:
    left = companion(record, EPOCH)
    assert is_companion(left)
    assert (left.parent, left.parent_position) == ("a", "1.0.outcome")
    kept, nothing = the_companion().read(left)
    assert (kept.metadata, kept.execution_metadata, kept.outcome, nothing) == (Order(7), 3, outcome, Empty())


def test_an_end_that_is_damaged_is_kept_as_it_is_and_cannot_be_read() -> None:
    left = companion(ended(TaskState.CANCELLED, metadata_json=JsonText('{"number":')), EPOCH)
    assert left.metadata_json.startswith('{"crash":null,"error":[],"execution_metadata":3,"metadata":"{\\"number\\":"')
    (fault,) = the_companion().faults_of(left)
    assert str(fault.refusal).startswith("metadata $.metadata")


async def later(metadata: int, progress: int, outcome: Outcome[int, str]) -> list[TaskRequest]:
    return []


def few(metadata: int, progress: int) -> list[TaskRequest]:
    return []


def named(metadata: int, progress: int, *, outcome: Outcome[int, str]) -> list[TaskRequest]:
    return []


def starred(*parts: object) -> list[TaskRequest]:
    return []


@pytest.mark.parametrize(
    ("hook", "text"),
    [
        (later, "on_outcome is a plain def that returns requests"),
        ("refund", "on_outcome is a plain def that returns requests"),
        (few, r"on_outcome takes \(metadata, execution_metadata, outcome\), and children as a fourth"),
        (named, "on_outcome takes"),
        (starred, "on_outcome takes"),
    ],
)
def test_what_cannot_be_called_as_an_on_outcome_is_refused_where_it_is_defined(
    hook: Callable[..., list[TaskRequest]], text: str
) -> None:
    with pytest.raises(TaskDefinitionError, match=text):

        @task(on_outcome=hook)
        def pay(metadata: int, progress: int) -> TaskResult[int, str]:
            return Success.with_result(1)


def test_a_partial_and_parameters_with_defaults_are_fine() -> None:
    def account(
        book: str, metadata: int, progress: int, outcome: Outcome[int, str], children: Children, extra: int = 3
    ) -> Sequence[TaskRequest]:
        return []

    @task(on_outcome=partial(account, "main"), retry=Retry.never())
    def pay(metadata: int, progress: int) -> TaskResult[int, str]:
        return Success.with_result(1)

    assert pay.parts[0].name == "pay:on-outcome"


def test_names_that_milepost_keeps_for_itself_and_names_that_get_too_long_are_refused() -> None:
    with pytest.raises(TaskDefinitionError, match=r"begins with 'milepost\.', which milepost keeps for itself"):

        @task(name="milepost.group")
        def head(metadata: int, progress: int) -> TaskResult[int, str]:
            return Success.with_result(1)

    with pytest.raises(TaskDefinitionError, match="with what its on_outcome appends to it"):

        @task(name="n" * 195, on_outcome=quiet)
        def long(metadata: int, progress: int) -> TaskResult[int, str]:
            return Success.with_result(1)
