"""Groups and trees as both clients see them, with an executor that runs them, on every store."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import trio
from attrs import frozen

from milepost import (
    ALL_FINISHED,
    BlockingGroupHandle,
    BlockingTaskHandle,
    CancelAccepted,
    ChildCount,
    ChildrenAwaited,
    Client,
    ConfigurationError,
    Crash,
    CrashKind,
    Empty,
    EnqueueRefused,
    Execution,
    Failure,
    GroupHandle,
    QueueFull,
    Store,
    Success,
    TaskDefinitionError,
    TaskGone,
    TaskHandle,
    TaskQuery,
    TaskResult,
    TaskState,
    WhenFull,
    group,
    open_executor,
    open_store,
    task,
)
from tests.client.threaded import AnyClient
from tests.executor.kit import quick

pytestmark = pytest.mark.anyio

AnyGroup = GroupHandle[Any, Any] | BlockingGroupHandle[Any, Any]


@frozen
class Line:
    price: int


@task
def price(metadata: Line, progress: Empty) -> TaskResult[int, str]:
    return Failure.with_error("no price") if metadata.price < 0 else Success.with_result(metadata.price)


@task
async def total(metadata: str, progress: Empty, execution: Execution[Empty]) -> TaskResult[int, str]:
    outcomes = execution.children.of(price)
    return Success.with_result(sum(each.result for each in outcomes if isinstance(each, Success)))


def lines(*prices: int) -> list[Any]:
    return [price.with_metadata(Line(each)) for each in prices]


def unchanged(metadata: Any, progress: Any) -> tuple[Any, Any]:
    return metadata, progress


async def wait(handle: AnyGroup | TaskHandle[Any, Any] | BlockingTaskHandle[Any, Any]) -> Any:
    if isinstance(handle, GroupHandle | TaskHandle):
        return await handle.wait(20)
    return await trio.to_thread.run_sync(handle.wait, 20)


async def progress(handle: AnyGroup) -> ChildCount:
    return await handle.progress() if isinstance(handle, GroupHandle) else handle.progress()


async def cancel(handle: AnyGroup) -> Any:
    if isinstance(handle, GroupHandle):
        return (await handle.cancel(reason="enough")).value_or(None)
    return handle.cancel(reason="enough").value_or(None)


async def test_a_continuation_gets_what_its_group_has_made(client: AnyClient) -> None:
    handle = await client.enqueue_group(lines(3, 4), total.with_metadata("order 7"))
    assert (handle.created, await progress(handle)) == (True, ChildCount(unfinished=2))
    async with open_executor(client.store, [price, total], config=quick()):
        assert await wait(handle) == Success(7)
    assert await progress(handle) == ChildCount(completed=2)


async def test_a_group_without_a_continuation_is_waited_for_by_its_handle(client: AnyClient) -> None:
    group_of_two = await client.enqueue_group(lines(3, 4))
    one_fails = await client.enqueue_group(lines(3, -1))
    finished = await client.enqueue_group(lines(3, -1), on=ALL_FINISHED)
    assert await wait(await client.enqueue_group([])) == Success(ChildCount())
    async with open_executor(client.store, [price], config=quick()):
        assert await wait(group_of_two) == Success(ChildCount(completed=2))
        assert await wait(one_fails) == Failure(ChildCount(completed=1, failed=1))
        assert await wait(finished) == Success(ChildCount(completed=1, failed=1))


async def test_a_continuation_is_cancelled_where_one_fails_and_runs_if_it_only_asks_for_ends(client: AnyClient) -> None:
    needing = await client.enqueue_group(lines(3, -1), total.with_metadata("all"))
    patient = await client.enqueue_group(lines(3, -1), total.with_metadata("any"), ALL_FINISHED)
    async with open_executor(client.store, [price, total], config=quick()):
        told = "not all that it waits for has succeeded: 1 of 2 completed, 1 failed"
        assert await wait(needing) == Crash(CrashKind.CANCELLED, told)
        assert await wait(patient) == Success(3)


async def test_a_group_is_cancelled_whole(client: AnyClient) -> None:
    handle = await client.enqueue_group([*lines(1, 2), group(lines(3))], total.with_metadata("order 7"))
    assert await cancel(handle) == CancelAccepted(handle.id, TaskState.CANCELLED, descendants=4)
    assert await progress(handle) == ChildCount(cancelled=3)
    assert await client.count(TaskQuery().live()) == 0


async def test_a_group_that_is_gone_has_no_progress(client: AnyClient) -> None:
    handle = await client.enqueue_group([])
    await client.delete(handle.id)
    with pytest.raises(TaskGone):
        await progress(handle)


async def test_members_are_found_by_their_group_and_explain_tells_whom_it_waits_for(client: AnyClient) -> None:
    handle = await client.enqueue_group(lines(1, 2))
    members = (await client.search(TaskQuery().with_parent(handle.id))).records
    assert [record.metadata for record in members] == [{"price": 1}, {"price": 2}]
    gates = (await client.explain(handle.id)).unwrap()
    assert gates == (ChildrenAwaited(ChildCount(unfinished=2), tuple(record.id for record in members)),)


async def test_a_group_under_a_key_that_lives_is_joined_whole(client: AnyClient) -> None:
    nightly = total.with_metadata("nightly").with_key("nightly")
    first = await client.enqueue_group(lines(1), nightly)
    second = await client.enqueue_group(lines(2), nightly)
    assert (second.id, second.created) == (first.id, False)
    assert await client.count(TaskQuery().with_name("price")) == 1


async def test_a_group_is_enqueued_whole_or_not_at_all(client: AnyClient) -> None:
    await client.set_queue("default", capacity=1, when_full=WhenFull.REJECT)
    with pytest.raises(EnqueueRefused) as refused:
        await client.enqueue_group(lines(1, 2))
    assert refused.value.reason == QueueFull("default", 1)
    assert await client.count(TaskQuery()) == 0


async def test_a_continuation_takes_no_room_before_it_may_run(client: AnyClient) -> None:
    await client.set_queue("default", capacity=1, when_full=WhenFull.REJECT)
    handle = await client.enqueue_group(lines(1), total.with_metadata("order 7"))
    async with open_executor(client.store, [price, total], config=quick()):
        assert await wait(handle) == Success(1)


async def test_what_is_no_request_is_refused_by_its_place(client: AnyClient) -> None:
    with pytest.raises(TaskDefinitionError, match="member 1 of a group"):
        await client.enqueue_group([*lines(1), cast("Any", price)])
    with pytest.raises(TaskDefinitionError, match="list of requests"):
        await client.enqueue_group(lines(1)[0])


async def test_a_tree_is_cancelled_and_requeued_by_its_root(client: AnyClient) -> None:
    handle = await client.enqueue_group(lines(1, 2), total.with_metadata("order 7"))
    assert (await client.cancel(handle.id, descendants=True)).unwrap().descendants == 2
    assert (await client.requeue(handle.id, descendants=True)).unwrap().state is TaskState.SUSPENDED
    async with open_executor(client.store, [price, total], config=quick()):
        assert await wait(handle) == Success(3)


async def test_a_requeue_with_descendants_does_not_go_with_a_start_over(client: AnyClient) -> None:
    handle = await client.enqueue_group(lines(1))
    with pytest.raises(ConfigurationError, match="ask for one of them"):
        await client.requeue(handle.id, descendants=True, from_start=True)
    with pytest.raises(ConfigurationError, match="ask for one of them"):
        await client.requeue(handle.id, descendants=True, edit=unchanged)


async def test_a_group_in_your_own_transaction_is_there_with_your_commit(tmp_path: Path) -> None:
    apsw = pytest.importorskip("apsw")
    async with open_store(f"sqlite:///{tmp_path / 'tasks.db'}") as store:
        client = Client(store)
        connection = apsw.Connection(str(tmp_path / "tasks.db"))
        connection.execute("begin immediate")
        lost = client.within(connection).enqueue_group(lines(1))
        connection.execute("rollback")
        connection.execute("begin immediate")
        kept = client.within(connection).enqueue_group(lines(1, 2), total.with_metadata("order 7"))
        client.within(connection).cancel(kept.id, descendants=True)
        connection.execute("commit")
        connection.close()
        with pytest.raises(TaskGone):
            await lost.progress()
        assert await kept.progress() == ChildCount(cancelled=2)


async def test_a_group_may_have_a_thousand_members(store: Store) -> None:
    handle = await Client(store).enqueue_group(lines(*range(1_000)))
    assert (await handle.progress()).total == 1_000
