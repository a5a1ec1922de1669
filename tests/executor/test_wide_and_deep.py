"""Very wide, very deep and very large families of tasks, on living executors."""

from __future__ import annotations

import pytest
import trio
from attrs import frozen

from milepost import (
    Client,
    Empty,
    Execution,
    ExecutorConfig,
    Store,
    Success,
    Suspended,
    TaskQuery,
    TaskResult,
    TaskState,
    open_executor,
    task,
)
from tests.executor.kit import until

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

LEASE_SECONDS = 30


@frozen
class Size:
    n: int


@frozen
class Progress:
    asked: bool = False


@task
def leaf(size: Size, nothing: Empty) -> TaskResult[int, Empty]:
    return Success.with_result(size.n).for_empty_error()


@task
async def wide(size: Size, progress: Progress, execution: Execution[Progress]) -> TaskResult[int, Empty, Progress]:
    """Has so many children, and is the sum of what they are."""
    if progress.asked:
        found: list[int] = [each.value_or(0) for each in execution.children.of(leaf)]
        return Success.with_result(sum(found)).for_empty_error()
    leaves = [leaf.with_metadata(Size(n)) for n in range(size.n)]
    asking = Suspended.with_execution_metadata(Progress(asked=True)).for_result(int).for_empty_error()
    return asking.then_enqueue(*leaves).until_finished()


@task
async def deep(size: Size, progress: Progress, execution: Execution[Progress]) -> TaskResult[int, Empty, Progress]:
    """Has one child that has one child and so on, and is how many there are."""
    if progress.asked:
        (below,) = execution.children.of(deep)
        return Success.with_result(1 + below.value_or(0)).for_empty_error()
    if size.n == 1:
        return Success.with_result(1).for_empty_error()
    asking = Suspended.with_execution_metadata(Progress(asked=True)).for_result(int).for_empty_error()
    return asking.then_enqueue(deep.with_metadata(Size(size.n - 1))).until_finished()


@task
async def tree(size: Size, progress: Progress) -> TaskResult[Empty, Empty, Progress]:
    """Three children of each, as deep as its size says; the lowest run for ever."""
    if size.n == 0:
        await trio.sleep_forever()
    asking = Suspended.with_execution_metadata(Progress(asked=True)).for_empty_result().for_empty_error()
    return asking.then_enqueue(*[tree.with_metadata(Size(size.n - 1))] * 3).until_finished()


async def test_ten_thousand_children_are_joined_by_one_parent(store: Store) -> None:
    async with open_executor(store, [wide, leaf]):
        handle = await Client(store).enqueue(wide.with_metadata(Size(10_000)))
        assert await handle.wait(timeout_seconds=60) == Success.with_result(sum(range(10_000)))
    assert await Client(store).count(TaskQuery().with_state(TaskState.COMPLETED)) == 10_001


async def test_fifty_tasks_wait_for_each_other(store: Store) -> None:
    async with open_executor(store, [deep], config=ExecutorConfig(concurrency=1)):
        handle = await Client(store).enqueue(deep.with_metadata(Size(50)))
        assert await handle.wait(timeout_seconds=30) == Success.with_result(50)


async def test_a_tree_of_a_thousand_tasks_is_cancelled_within_one_renewal(store: Store) -> None:
    config = ExecutorConfig(concurrency=500, lease_seconds=LEASE_SECONDS)
    client = Client(store)
    async with open_executor(store, [tree], config=config) as one, open_executor(store, [tree], config=config) as other:
        handle = await client.enqueue(tree.with_metadata(Size(6)))
        await until(lambda: one.statistics().running + other.statistics().running == 3**6)
        assert await client.count(TaskQuery()) == sum(3**level for level in range(7)) == 1_093
        (await client.cancel(handle, reason="enough", descendants=True)).unwrap()
        await until(lambda: one.statistics().running + other.statistics().running == 0, seconds=LEASE_SECONDS / 3)
    assert await client.count(TaskQuery().with_state(TaskState.CANCELLED)) == 1_093
