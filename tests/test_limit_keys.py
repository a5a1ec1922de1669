"""By which keys a task is counted under its limits: what key functions give, and what they do wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import Any

import pytest
from attrs import frozen

from milepost import (
    Client,
    ConcurrencyLimit,
    Empty,
    RateLimit,
    Success,
    Task,
    TaskDefinitionError,
    TaskQuery,
    TaskRecord,
    TaskResult,
    open_store,
    task,
)
from milepost.lifecycle.draft import Draft
from milepost.testing.conformance.kit import NOW

pytestmark = pytest.mark.anyio

SECOND = timedelta(seconds=1)


class Region(StrEnum):
    NORTH = "north"


@frozen
class Mail:
    to: str
    region: Region = Region.NORTH


def mailing(
    rate_limit: RateLimit | None = None, concurrency_limit: ConcurrencyLimit | None = None
) -> Task[Mail, Empty, Empty, Empty]:
    @task(name="mail", rate_limit=rate_limit, concurrency_limit=concurrency_limit)
    def mail(metadata: Mail, _: Empty) -> TaskResult[Empty, Empty]:
        return Success.with_empty_result().for_empty_error()

    return mail


def drafted(rate_limit: RateLimit | None = None, concurrency_limit: ConcurrencyLimit | None = None) -> TaskRecord:
    draft = mailing(rate_limit, concurrency_limit).with_metadata(Mail("ada")).draft()
    assert isinstance(draft, Draft)
    return draft.record(NOW)


def test_a_task_without_limits_has_no_keys() -> None:
    record = drafted()
    assert (record.rate_key, record.concurrency_key) == (None, None)


def test_a_limit_without_a_key_function_is_one_for_all() -> None:
    assert drafted(rate_limit=RateLimit(1, SECOND)).rate_key == ""
    assert drafted(concurrency_limit=ConcurrencyLimit(1)).concurrency_key == ""


def test_each_limit_has_a_key_of_its_own() -> None:
    record = drafted(
        rate_limit=RateLimit(1, SECOND, key=lambda mail: mail.to),
        concurrency_limit=ConcurrencyLimit(1, key=lambda mail: mail.region),
    )
    assert (record.rate_key, record.concurrency_key) == ("ada", "north")
    assert type(record.concurrency_key) is str


def test_a_long_key_is_stored_as_its_hash() -> None:
    record = drafted(rate_limit=RateLimit(1, SECOND, key=lambda mail: mail.to * 1_000))
    assert record.rate_key is not None
    assert record.rate_key.startswith("sha256:")


def broken(_: Mail) -> str:
    raise LookupError("no such customer")


def number(_: Mail) -> Any:
    return 7


def nothing(_: Mail) -> Any:
    return None


@pytest.mark.parametrize("option", ["rate_limit", "concurrency_limit"])
@pytest.mark.parametrize(
    ("function", "said"),
    [
        (broken, "raised LookupError: no such customer"),
        (number, "gave 7, which is no text"),
        (nothing, "None"),
    ],
)
async def test_what_a_key_function_does_wrong_is_told_before_anything_is_written(
    option: str, function: Callable[[Mail], Any], said: str
) -> None:
    limited = (
        mailing(rate_limit=RateLimit(1, SECOND, key=function))
        if option == "rate_limit"
        else mailing(concurrency_limit=ConcurrencyLimit(1, key=function))
    )
    async with open_store("memory:") as store:
        client = Client(store)
        requests = [mailing().with_metadata(Mail("bob")), limited.with_metadata(Mail("ada"))]
        with pytest.raises(TaskDefinitionError, match=f"the key function of the {option} of 'mail' .*{said}"):
            await client.enqueue_all(requests)
        assert await client.count(TaskQuery()) == 0
