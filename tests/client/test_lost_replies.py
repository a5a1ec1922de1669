"""An enqueue whose reply is lost is asked again under the same ids, so that it happens once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, Unpack
from uuid import uuid4

import attrs
import pytest

from milepost import BlockingClient, Client, Empty, IdTaken, task
from milepost.errors import CommitUnknown, StoreError, StoreUnreachable
from milepost.results import Success
from milepost.stores.filter import TaskFilter
from milepost.stores.memory import MemoryStore
from milepost.stores.protocol import Session, TransactOptions
from tests.executor.kit import PassingStore

pytestmark = pytest.mark.anyio

T = TypeVar("T")


@task
async def greet(name: str, state: Empty) -> Success[str]:
    return Success(f"hello {name}")


class LosesReplies(PassingStore):
    """Raises `faults`, one for each call, after a call that was carried out or in place of one that was not."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.faults: list[tuple[bool, StoreError]] = []

    async def transact(self, function: Callable[[Session], T], **options: Unpack[TransactOptions]) -> T:
        return self.transact_blocking(function, **options)

    def transact_blocking(self, function: Callable[[Session], T], **options: Unpack[TransactOptions]) -> T:
        written, fault = self.faults.pop(0) if self.faults else (True, None)
        answer = super().transact_blocking(function) if written else None
        if fault is not None:
            raise fault
        return answer  # type: ignore[return-value]  # without a fault it is written

    def count(self) -> int:
        return self.inner.read_blocking(lambda session: session.count(TaskFilter()))


@pytest.mark.parametrize("written", [True, False])
async def test_what_was_inserted_stays_and_what_was_not_is_inserted(written: bool) -> None:
    store = LosesReplies()
    client = Client(store)
    holder = await client.enqueue(greet.with_metadata("eve").with_key("k"))
    requests = [greet.with_metadata("ada"), greet.with_metadata("bob").with_key("k"), greet.with_metadata("cid")]
    store.faults = [(written, CommitUnknown("lost"))]
    first, second, third = await client.enqueue_all(requests)
    assert [first.created, second.created, third.created] == [True, False, True]
    assert second.id == holder.id
    assert store.count() == 3
    store.faults = [(written, CommitUnknown("lost"))]
    assert [handle.created for handle in BlockingClient(store).enqueue_all(requests)] == [True, False, True]
    assert store.count() == 5


@pytest.mark.parametrize("written", [True, False])
async def test_a_request_with_an_id_of_its_own_is_enqueued_once_and_refused_where_the_id_is_anothers(
    written: bool,
) -> None:
    store = LosesReplies()
    client = Client(store)
    taken = greet.with_metadata("eve").with_id(uuid4())
    await client.enqueue(taken)
    fresh = greet.with_metadata("ada").with_id(uuid4())
    store.faults = [(written, CommitUnknown("lost"))]
    handles = await client.enqueue_all([fresh, taken, greet.with_metadata("bob")])
    # Of what may have been inserted by the call whose reply was lost, nobody knows whether it was there before.
    assert [handle.created for handle in handles] == [not written, False, True]
    store.faults = [(False, CommitUnknown("lost"))]
    refused = await client.try_enqueue(attrs.evolve(fresh, metadata="cid"))
    assert refused.failure() == IdTaken(handles[0].id, "greet")
    assert store.count() == 3


async def test_a_store_that_cannot_be_asked_again_leaves_it_open() -> None:
    store = LosesReplies()
    store.faults = [(True, CommitUnknown("lost")), (False, StoreUnreachable("gone"))] * 2
    with pytest.raises(CommitUnknown):
        await Client(store).enqueue(greet.with_metadata("ada"))
    with pytest.raises(CommitUnknown):
        BlockingClient(store).enqueue(greet.with_metadata("ada"))
