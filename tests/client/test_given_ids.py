"""A request under an id of its own is enqueued once, however often it is asked for."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4, uuid5

import pytest

from milepost import (
    REJECT,
    REPLACE,
    BlockingClient,
    EnqueueRefused,
    IdTaken,
    KeyTaken,
    TaskDefinitionError,
    TaskId,
    TaskQuery,
    TaskState,
)
from milepost.lifecycle import events
from milepost.payload import JsonText
from milepost.stores.open import connect_store
from tests.client.test_client import EACH_DATABASE, own_connection, refused
from tests.client.threaded import AnyClient, Order, Progress, bill, ship
from tests.executor.kit import change

pytestmark = pytest.mark.anyio

ID = "018f0000-0000-7000-8000-000000000001"


async def test_the_same_request_again_gives_the_handle_of_the_first(client: AnyClient) -> None:
    request = ship.with_metadata(Order(1)).with_id(ID)
    first, again = await client.enqueue(request), await client.enqueue(request)
    assert (first.id, first.created, again.id, again.created) == (ID, True, ID, False)
    assert await client.count(TaskQuery()) == 1


async def test_it_is_the_same_task_whatever_has_become_of_it(client: AnyClient) -> None:
    request = ship.with_metadata(Order(1)).with_id(ID).with_key("k", REPLACE)
    await client.enqueue(request)
    for event in (events.Claimed("ada", "token"), events.Succeeded(JsonText('"ok"'))):
        await change(client.store, TaskId(ID), event)
        assert (await client.enqueue(request)).created is False
    ended = (await client.get(TaskId(ID))).unwrap()
    assert (ended.state, await client.count(TaskQuery())) == (TaskState.COMPLETED, 1)


async def test_another_request_under_the_id_is_refused_and_nothing_is_enqueued(client: AnyClient) -> None:
    await client.enqueue(ship.with_metadata(Order(1)).with_id(ID))
    for other in (ship.with_metadata(Order(2)), bill.with_metadata(Order(1))):
        requests = [ship.with_metadata(Order(7)), other.with_id(ID)]
        assert refused(await client.try_enqueue_all(requests)) == IdTaken(TaskId(ID), "ship")
    with pytest.raises(EnqueueRefused, match=f"the id {ID} belongs to another request, for 'ship'"):
        await client.enqueue(ship.with_metadata(Order(2)).with_id(ID))
    assert await client.count(TaskQuery()) == 1


async def test_how_it_shall_run_is_no_part_of_the_request_that_is_compared(client: AnyClient) -> None:
    await client.enqueue(ship.with_metadata(Order(1)).with_id(ID))
    again = ship.with_metadata(Order(1)).with_id(ID).in_queue("slow").with_priority(3)
    assert (await client.enqueue(again.with_execution_metadata(Progress(3)))).created is False
    assert (await client.get(TaskId(ID))).unwrap().queue == "default"


async def test_an_id_twice_in_one_call_is_one_task(client: AnyClient) -> None:
    request = ship.with_metadata(Order(1)).with_id(ID)
    first, again = await client.enqueue_all([request, request])
    assert (first.created, again.id, again.created) == (True, ID, False)
    other = str(uuid4())
    requests = [bill.with_metadata(Order(n)).with_id(other) for n in (1, 2)]
    assert refused(await client.try_enqueue_all(requests)) == IdTaken(TaskId(other), "bill")
    assert await client.count(TaskQuery()) == 1


async def test_a_key_decides_on_what_has_a_new_id(client: AnyClient) -> None:
    holder = await client.enqueue(ship.with_metadata(Order(1)).with_key("k"))
    request = ship.with_metadata(Order(2)).with_id(ID)
    kept, again = await client.enqueue_all([request.with_key("k"), request.with_key("k")])
    assert (kept.id, kept.created, again.id, again.created) == (holder.id, False, holder.id, False)
    assert refused(await client.try_enqueue(request.with_key("k", REJECT))) == KeyTaken("ship", "k", holder.id)
    replacing = await client.enqueue(request.with_key("k", REPLACE))
    assert (replacing.id, replacing.created) == (ID, True)
    assert (await client.get(holder.id)).unwrap().state is TaskState.CANCELLED


def test_an_id_is_a_uuid_as_milepost_writes_it() -> None:
    made = uuid5(UUID(ID), "order-42")
    for id in (made, str(made)):
        draft: Any = ship.with_metadata(Order(1)).with_id(id).draft()
        assert draft.id == str(made)
    wrong: list[Any] = [
        "",
        "1",
        ID.upper(),
        f"{{{ID}}}",
        ID.replace("-", ""),
        ID + "\n",
        5,
        None,
    ]
    for id in wrong:
        with pytest.raises(TaskDefinitionError, match="a task's id is a UUID in lower case with hyphens"):
            ship.with_metadata(Order(1)).with_id(id)


@EACH_DATABASE
async def test_a_request_is_replayed_in_the_callers_own_transaction(own_client: AnyClient) -> None:
    request = ship.with_metadata(Order(1)).with_id(ID)
    connection = own_connection(own_client.store)
    try:
        connection.execute("begin")
        own = own_client.within(connection)
        assert [own.enqueue(request).created for _ in range(2)] == [True, False]
        assert refused(own.try_enqueue(bill.with_metadata(Order(1)).with_id(ID))) == IdTaken(TaskId(ID), "ship")
        connection.execute("commit")
    finally:
        connection.close()
    assert (await own_client.enqueue(request)).created is False


@pytest.mark.parametrize("url", ["sqlite", "postgres"], indirect=True)
def test_of_many_who_enqueue_a_request_at_once_one_creates_it_and_all_get_it(url: str) -> None:
    callers, rounds = 4, 25
    start = threading.Barrier(callers)

    def replay(number: int) -> list[tuple[str, bool]]:
        store = connect_store(url)
        client = BlockingClient(store)
        answers: list[tuple[str, bool]] = []
        try:
            for n in range(rounds):
                start.wait(20)
                handle = client.enqueue(ship.with_metadata(Order(n)).with_id(uuid5(UUID(ID), str(n))))
                answers.append((handle.id, handle.created))
        finally:
            store.close()
        return answers

    connect_store(url).close()
    with ThreadPoolExecutor(callers) as pool:
        answers = list(pool.map(replay, range(callers)))
    for n, told in enumerate(zip(*answers, strict=True)):
        assert {id for id, _ in told} == {str(uuid5(UUID(ID), str(n)))}
        assert sorted(created for _, created in told) == [False] * (callers - 1) + [True]
