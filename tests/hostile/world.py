"""A store in which somebody has lived: victims, whose rows are damaged, beside bystanders, who must not notice."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, final

import trio
from attrs import frozen

from milepost import (
    Client,
    ConcurrencyLimit,
    Empty,
    Execution,
    ExecutorConfig,
    Failure,
    NamedEvent,
    RateLimit,
    Retry,
    Schedule,
    Store,
    Success,
    Suspended,
    TaskHandle,
    TaskQuery,
    TaskResult,
    TaskState,
    every,
    open_executor,
    task,
)
from milepost.stores.protocol import Lease, Session

PATIENCE_SECONDS: Final = 3
HOUR: Final = timedelta(hours=1)
PAID: Final = NamedEvent("paid", int)
VICTIM: Final = "victim"
BYSTANDER: Final = "bystander"
SEVERAL: Final = tuple(f"{VICTIM}-{n}" for n in range(8))
"""Schedules, queues, events and executors whose rows may be damaged."""

QUICK: Final = ExecutorConfig(poll_seconds=0.01, drain_seconds=1, stalls_max=2)


@task
def double(metadata: int, progress: Empty) -> TaskResult[int, str]:
    """What bystanders do."""
    return Success.with_result(2 * metadata).for_error(str)


@task
async def settle(metadata: str, asked: bool, execution: Execution[bool]) -> TaskResult[int, str, bool]:
    """Waits for its payment."""
    paid = execution.received(PAID)
    if paid is not None:
        return Success.with_result(paid)
    return Failure.with_error("nobody paid") if asked else Suspended(True).until_event(PAID, metadata)


@task
async def family(metadata: int, asked: bool, execution: Execution[bool]) -> TaskResult[int, str, bool]:
    """Has children, and waits for them."""
    if asked:
        return Success.with_result(len(execution.children))
    children = [double.with_metadata(n).in_queue("nobody") for n in range(metadata)]
    return Suspended(True).until_finished().then_enqueue(*children)


@task(retry=Retry.never())
async def stumble(metadata: str, progress: Empty, execution: Execution[Empty]) -> TaskResult[int, str]:
    """Logs, and fails, by a crash if it is told so."""
    for line in range(4):
        execution.log.warning("it comes to no good %d", line)
    if metadata == "crash":
        raise RuntimeError("as it was told")
    return Failure.with_error("as it was told")


@task(rate_limit=RateLimit(1, HOUR), concurrency_limit=ConcurrencyLimit(5))
def seldom(metadata: int, progress: Empty) -> TaskResult[int, str]:
    """Has a rate, so that the second one is parked."""
    return Success.with_result(metadata).for_error(str)


TASKS: Final = (double, settle, family, stumble, seldom)


@final
@frozen
class Lived:
    """Who is in the store: the tasks whose rows may be damaged, and those that stay as they are."""

    victims: tuple[str, ...]
    bystanders: tuple[str, ...]


async def settled(store: Store) -> Lived:
    """Fill an empty store."""
    client = Client(store)
    victims: list[TaskHandle[Any, Any]] = [
        await client.enqueue(settle.with_metadata(VICTIM).with_execution_metadata(False)),
        await client.enqueue(family.with_metadata(8).with_execution_metadata(False)),
        await client.enqueue(stumble.with_metadata("crash")),
        await client.enqueue(stumble.with_metadata("fail")),
        await client.enqueue(seldom.with_metadata(1)),
        await client.enqueue(seldom.with_metadata(2)),
        await client.enqueue(double.with_metadata(7)),
    ]
    bystanders: list[TaskHandle[Any, Any]] = [
        await client.enqueue(settle.with_metadata(BYSTANDER).with_execution_metadata(False)),
        await client.enqueue(family.with_metadata(1).with_execution_metadata(False)),
    ]
    await client.pause_queue("nobody", reason="nobody works here")
    async with open_executor(store, TASKS, config=QUICK):
        for victim in (*victims[2:5], victims[6]):
            await victim.wait(PATIENCE_SECONDS)
        with trio.fail_after(PATIENCE_SECONDS):
            while await client.count(TaskQuery().with_state(TaskState.SUSPENDED)) < 4 or not await _parked(client):  # noqa: ASYNC110
                await trio.sleep(0.005)
    victims += [
        await client.enqueue(double.with_metadata(n).with_key(f"{VICTIM} {n}").with_correlation("of victims"))
        for n in range(8)
    ]
    bystanders += [await client.enqueue(double.with_metadata(21)), await client.enqueue(stumble.with_metadata("fail"))]
    children = [record.id for record in (await client.search(TaskQuery().with_parent(victims[1].id))).records]
    cancelled = await client.enqueue(double.with_metadata(1))
    await client.cancel(cancelled, reason="of no use", by="somebody")
    for key in (*SEVERAL, BYSTANDER):
        await client.schedule(Schedule(key, double.with_metadata(3), every(HOUR)))
    for key in SEVERAL:
        await client.send_event(PAID, key, 5, id=key)
        await client.set_queue(key, weight=3, concurrency=2, capacity=9)
    await store.transact(_leases)
    return Lived((*(each.id for each in victims), *children, cancelled.id), tuple(each.id for each in bystanders))


async def _parked(client: Client) -> bool:
    return any(record.limited_by for record in (await client.search(TaskQuery().with_name("seldom"))).records)


def _leases(session: Session) -> None:
    for key in SEVERAL:
        session.open_lease(_dead(key, session.now()))


def _dead(name: str, now: datetime) -> Lease:
    started, until = now - 2 * HOUR, now - HOUR
    return Lease(name, "a host", 7, started, started, until, 3, 1, {"double": 1}, ("default",))
