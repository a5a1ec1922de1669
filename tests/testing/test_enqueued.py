"""`assert_enqueued`, of results, runs and stores: what counts as enqueued, and what a miss looks like."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from attrs import frozen

from milepost import Client, Empty, Success, TaskDefinitionError, TaskResult, open_store, task
from milepost.tasks.group import group
from milepost.testing import assert_enqueued, run_once


@frozen
class Order:
    number: int


@frozen
class Tried:
    times: int = 0


@task(name="mail")
def mail(to: str, tried: Tried) -> TaskResult[Empty, str]:
    return Success.with_empty_result()


@task(name="receipt")
def receipt(order: Order, _: Empty) -> TaskResult[Empty, str]:
    return Success.with_empty_result()


@task(name="ship")
def ship(order: Order, _: Empty) -> TaskResult[int, str]:
    return Success.with_result(1).then_enqueue(
        receipt.with_metadata(order).with_key(f"receipt-{order.number}").in_queue("print"),
        group([mail.with_metadata("ada"), mail.with_metadata("joan").after(timedelta(hours=1))]),
    )


async def test_what_a_result_or_a_run_enqueues_is_found_by_task_and_by_request() -> None:
    run = await run_once(ship, Order(7), Empty())
    for where in (run, run.result, ship(Order(7), Empty())):
        assert_enqueued(where, receipt, mail, mail)
        assert_enqueued(where, receipt.with_metadata(Order(7)), mail.with_metadata("joan"), mail.with_metadata("ada"))
        assert_enqueued(where, mail.with_metadata("joan").after(timedelta(hours=1)))
        assert_enqueued(where, receipt.with_metadata(Order(7)).with_key("receipt-7").in_queue("print"))
        assert_enqueued(where)


def test_a_request_takes_its_own_before_a_bare_task_takes_any() -> None:
    result = Success.with_result(1).then_enqueue(mail.with_metadata("ada"), mail.with_metadata("joan"))
    assert_enqueued(result, mail, mail.with_metadata("ada"))
    with pytest.raises(AssertionError, match="not enqueued: mail"):
        assert_enqueued(result, mail, mail, mail)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (receipt.with_metadata(Order(8)), '  receipt {"number":7}   (another metadata)'),
        (receipt.with_metadata(Order(7)).with_key("r"), '  receipt {"number":7} key=receipt-7   (another key)'),
        (
            receipt.with_metadata(Order(7)).with_key("r").with_priority(2),
            '  receipt {"number":7} key=receipt-7 priority=0   (another key, priority)',
        ),
        (
            mail.with_metadata("ada").with_execution_metadata(Tried(2)),
            '  mail "ada" execution_metadata={"times":0}   (another execution_metadata)',
        ),
    ],
)
def test_a_miss_shows_the_nearest_and_what_is_another_of_it(wanted: Any, said: str) -> None:
    with pytest.raises(AssertionError) as raised:
        assert_enqueued(ship(Order(7), Empty()), wanted)
    lines = str(raised.value).splitlines()
    assert lines[0].startswith(f"not enqueued: {wanted.task.name} ")
    assert lines[2] == said


def test_a_miss_among_nothing_says_so() -> None:
    with pytest.raises(AssertionError) as raised:
        assert_enqueued(Success.with_result(1), receipt.with_metadata(Order(7)))
    assert str(raised.value) == 'not enqueued: receipt {"number":7}\nnothing was, or nothing else'


async def test_in_a_store_every_task_counts_whatever_has_become_of_it() -> None:
    async with open_store("memory:") as store:
        client = Client(store)
        handle = await client.enqueue(receipt.with_metadata(Order(7)).with_key("seven").with_correlation("order"))
        await client.cancel(handle.id)
        await client.enqueue(mail.with_metadata("ada").with_execution_metadata(Tried(3)))
        assert_enqueued(store, receipt, mail)
        assert_enqueued(store, receipt.with_metadata(Order(7)).with_key("seven").with_correlation("order"))
        assert_enqueued(store, receipt.with_metadata(Order(7)).with_id(handle.id))
        assert_enqueued(store, mail.with_metadata("ada").after(timedelta(hours=1)))
        with pytest.raises(AssertionError, match="another execution_metadata"):
            assert_enqueued(store, mail.with_metadata("ada").with_execution_metadata(Tried(4)))


def test_what_is_neither_a_task_nor_a_request_is_refused() -> None:
    wrong: Any = "mail"
    with pytest.raises(TaskDefinitionError, match=r"takes tasks, and requests as .* got 'mail'"):
        assert_enqueued(Success.with_result(1), wrong)
    with pytest.raises(TaskDefinitionError, match="cannot store its request"):
        assert_enqueued(Success.with_result(1), receipt.with_metadata(wrong))
