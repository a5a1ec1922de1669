"""Who works on a store, as both clients tell it."""

from __future__ import annotations

import os
import socket
from datetime import timedelta

import attrs
import trio

from milepost import ExecutorConfig, ExecutorInfo, Store, Success, TaskResult, open_executor, task
from milepost.stores.protocol import Session
from milepost.testing.conformance.kit import sample_lease
from tests.client.threaded import AnyClient, Order, Progress
from tests.executor.kit import PATIENCE_SECONDS, quick, until_async


@task(version=3)
def ship(metadata: Order, progress: Progress) -> TaskResult[int, str]:
    return Success.with_result(1).for_error(str)


async def test_nobody_works_on_a_new_store(client: AnyClient) -> None:
    assert await client.executors() == []


async def test_an_executor_tells_who_it_is_and_what_it_runs(client: AnyClient, store: Store) -> None:
    config = ExecutorConfig(concurrency=7, queues={"bulk": 2, "default": 5})
    async with open_executor(store, [ship], config=config) as executor:
        (told,) = await client.executors()
        assert (told.id, told.host, told.pid) == (executor.id, socket.gethostname(), os.getpid())
        assert (told.slots, told.running, told.tasks) == (7, 0, {"ship": 3})
        assert told.queues == ("bulk", "default")
        assert told.is_alive
        assert told.started_at <= told.renewed_at < told.lease_until
    assert await client.executors() == []


async def test_an_executor_for_every_queue_names_none(client: AnyClient, store: Store) -> None:
    async with open_executor(store, [ship]):
        (told,) = await client.executors()
        assert told.queues is None


async def test_the_longest_running_executor_comes_first(client: AnyClient, store: Store) -> None:
    def announce(session: Session) -> None:
        now = session.now()
        for minutes, name in ((1, "young"), (3, "old"), (2, "middle")):
            lease = sample_lease(name, now + timedelta(hours=1))
            session.open_lease(attrs.evolve(lease, started_at=now - timedelta(minutes=minutes)))

    await store.transact(announce)
    assert [executor.id for executor in await client.executors()] == ["old", "middle", "young"]


async def test_an_executor_is_alive_as_long_as_its_lease_holds_on_the_stores_clock(
    client: AnyClient, store: Store
) -> None:
    def announce(session: Session) -> None:
        now = session.now()
        session.open_lease(sample_lease("dead", now - timedelta(microseconds=1)))
        session.open_lease(sample_lease("living", now + timedelta(hours=1)))

    await store.transact(announce)
    assert {executor.id: executor.is_alive for executor in await client.executors()} == {"dead": False, "living": True}


async def test_a_last_sign_of_life_says_how_many_tasks_ran(client: AnyClient, store: Store) -> None:
    begun, may_end = trio.Event(), trio.Event()

    @task
    async def wait(metadata: int, progress: int) -> TaskResult[int, str]:
        begun.set()
        await may_end.wait()
        return Success.with_result(1).for_error(str)

    async def told(wanted: int) -> ExecutorInfo:
        while True:
            (executor,) = await client.executors()
            if executor.running == wanted:
                return executor
            await trio.lowlevel.checkpoint()

    async with open_executor(store, [wait], config=quick(lease_seconds=0.6)):
        await client.enqueue(wait.with_metadata(1).with_execution_metadata(0))
        await begun.wait()
        with trio.fail_after(PATIENCE_SECONDS):
            assert (await told(1)).is_alive
            may_end.set()
            await told(0)


async def test_changed_settings_are_told_to_the_others(client: AnyClient, store: Store) -> None:
    async with open_executor(store, [ship], config=quick(concurrency=2)) as executor:
        (before,) = await client.executors()
        executor.reconfigure(quick(concurrency=5, queues={"bulk": 5}))

        async def is_told() -> bool:
            return (await client.executors())[0].slots == 5

        await until_async(is_told)
        (now,) = await client.executors()
        assert (now.queues, now.id, now.started_at) == (("bulk",), before.id, before.started_at)
