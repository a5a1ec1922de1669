"""`payload_bytes_max`: a task's own limit for each of its four payloads, refused before anything is written."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import frozen

from milepost import (
    Client,
    Empty,
    EnqueueRefused,
    Execution,
    Failure,
    Json,
    PayloadRefused,
    Retry,
    Store,
    Success,
    Suspended,
    Task,
    TaskDefinitionError,
    TaskQuery,
    TaskResult,
    TaskState,
    open_executor,
    task,
)
from milepost.payload import PAYLOAD_BYTES_LIMIT, PAYLOAD_BYTES_MAX
from tests.executor.kit import quick, until_state

pytestmark = pytest.mark.anyio

LIMIT = 100
FITS = "x" * (LIMIT - 2)  # the quotes of a JSON text count
TOO_LONG = FITS + "x"
TOLD = f"$: {LIMIT + 1} bytes, the limit is {LIMIT} (payload_bytes_max)"


@task(name="small", payload_bytes_max=LIMIT, retry=Retry.never())
async def small(metadata: str, progress: str, execution: Execution[str]) -> TaskResult[str, str, str]:
    """Answer with, or commit, as much as the first word of the metadata asks for."""
    text = TOO_LONG if "too-long" in metadata else FITS
    match metadata.split()[0]:
        case "commit":
            await execution.commit(text)
            return Success("committed")
        case "suspend":
            return Suspended(text)
        case "fail":
            return Failure(text)
        case _:
            return Success(text)


async def test_what_fits_is_taken_in_every_payload(store: Store) -> None:
    client = Client(store)
    request = small.with_metadata(FITS).with_execution_metadata(FITS)
    handles = await client.enqueue_all([request, *(small.with_metadata(how) for how in ("commit", "fail", "suspend"))])
    states = (TaskState.COMPLETED, TaskState.COMPLETED, TaskState.FAILED, TaskState.SUSPENDED)
    async with open_executor(store, [small], config=quick()):
        records = [await until_state(store, h.id, state) for h, state in zip(handles, states, strict=True)]
    assert (records[0].result, records[1].execution_metadata) == (FITS, FITS)
    assert (records[2].error, records[3].execution_metadata) == (FITS, FITS)


@pytest.mark.parametrize("part", ["metadata", "execution metadata"])
async def test_a_request_that_is_too_large_is_refused_before_anything_is_written(store: Store, part: str) -> None:
    client = Client(store)
    metadata, progress = (TOO_LONG, "") if part == "metadata" else ("", TOO_LONG)
    request = small.with_metadata(metadata).with_execution_metadata(progress)
    told = f"request 1 (small): {part} {TOLD}"
    refused = (await client.try_enqueue_all([small.with_metadata(""), request])).failure()
    assert isinstance(refused, PayloadRefused)
    assert str(refused) == told
    with pytest.raises(EnqueueRefused) as raised:
        await client.enqueue(request)
    assert f"{part} {TOLD}" in str(raised.value)
    assert await client.count(TaskQuery()) == 0


@pytest.mark.parametrize(
    ("how", "part"),
    [("succeed", "result"), ("fail", "error"), ("suspend", "execution metadata"), ("commit", "execution metadata")],
)
async def test_an_answer_or_a_commit_that_is_too_large_is_a_crash_and_not_stored(
    store: Store, how: str, part: str
) -> None:
    handle = await Client(store).enqueue(small.with_metadata(f"{how} too-long").with_execution_metadata("start"))
    async with open_executor(store, [small], config=quick()):
        ended = await until_state(store, handle.id, TaskState.FAILED)
    assert ended.crash is not None
    assert TOLD in ended.crash.message
    assert part in ended.crash.message
    assert (ended.execution_metadata, ended.result, ended.error) == ("start", None, None)


async def test_a_task_may_ask_for_more_than_the_default(store: Store) -> None:
    text = "x" * (3 * PAYLOAD_BYTES_MAX)

    @task(payload_bytes_max=4 * PAYLOAD_BYTES_MAX)
    def large(metadata: str, progress: Empty) -> TaskResult[str, Empty]:
        return Success(metadata)

    @task
    def usual(metadata: str, progress: Empty) -> TaskResult[str, Empty]:
        return Success(metadata)

    handle = await Client(store).enqueue(large.with_metadata(text))
    async with open_executor(store, [large], config=quick()):
        assert (await until_state(store, handle.id, TaskState.COMPLETED)).result == text
    refused = (await Client(store).try_enqueue(usual.with_metadata(text))).failure()
    assert f"the limit is {PAYLOAD_BYTES_MAX} (payload_bytes_max)" in str(refused)


@frozen
class Text:
    text: str


def unchanged(metadata: Json, execution_metadata: Json) -> tuple[Json, Json]:
    return metadata, execution_metadata


async def test_a_lowered_limit_does_not_strand_what_is_stored(store: Store) -> None:
    def version(number: int, **options: Any) -> Task:
        def read(metadata: Text, progress: Empty) -> TaskResult[int, Empty]:
            return Success(len(metadata.text))

        make: Any = task
        made: Task = make(name="read", version=number, **options)(read)
        return made

    handle = await Client(store).enqueue(version(1).with_metadata(Text("x" * 5_000)))
    lowered = version(2, payload_bytes_max=LIMIT, upgrades={1: unchanged})
    async with open_executor(store, [lowered], config=quick()):
        assert (await until_state(store, handle.id, TaskState.COMPLETED)).result == 5_000


@pytest.mark.parametrize("limit", [2, PAYLOAD_BYTES_LIMIT])
async def test_limits_from_two_bytes_to_64_mebibytes_are_understood(limit: int) -> None:
    @task(payload_bytes_max=limit)
    def bounded(metadata: str, progress: Empty) -> TaskResult[Empty, Empty]:
        return Success(Empty())

    codec = bounded.codec
    parts = (codec.metadata, codec.execution_metadata, codec.result, codec.error)
    assert {part.bytes_max for part in parts} == {bounded.payload_bytes_max} == {limit}


@pytest.mark.parametrize("limit", [0, 1, -5, PAYLOAD_BYTES_LIMIT + 1, 1e6, True, "1 MiB"])
async def test_another_limit_is_refused_where_the_task_is_defined(limit: Any) -> None:
    with pytest.raises(TaskDefinitionError, match="payload_bytes_max is a whole number from 2 to 67108864"):

        @task(payload_bytes_max=limit)
        def bounded(metadata: str, progress: Empty) -> TaskResult[Empty, Empty]:
            return Success(Empty())
