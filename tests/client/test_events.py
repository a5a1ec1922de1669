"""Sending named events by both clients: to those who wait, to the first who comes, and never twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from attrs import frozen

from milepost import (
    BlockingClient,
    Client,
    ConfigurationError,
    EventAwaited,
    InvalidPayload,
    NamedEvent,
    SentTo,
    Store,
    TaskState,
)
from milepost.clock import LAST_MOMENT
from milepost.errors import CommitUnknown, StoreUnreachable
from milepost.lifecycle import events
from milepost.lifecycle.change import Transition
from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.transition import transition
from milepost.payload import JsonText
from milepost.stores import flow
from milepost.stores.flow_tables import KeptEvent
from milepost.stores.protocol import Session
from milepost.testing.conformance.kit import sample, task_id
from tests.client.test_client import EACH_DATABASE, own_connection
from tests.client.test_lost_replies import LosesReplies
from tests.client.threaded import AnyClient, Threaded

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)


@frozen
class Payment:
    cents: int


PAID = NamedEvent("paid", Payment)
KEPT = SentTo()
REPEATED = SentTo(repeated=True)


def woke(*tasks: int) -> SentTo:
    return SentTo(tuple(map(task_id, tasks)))


def suspend(session: Session, n: int, key: str, within: timedelta | None) -> TaskRecord:
    """A new task that runs and then begins to wait, as an executor would write it."""
    now = session.now()
    session.insert([sample(n)])
    for event in (events.Claimed("ada", "token"), events.Suspended(None, within, event="paid", key=key)):
        decided = transition(session.get([task_id(n)])[0], event, now=now)
        assert isinstance(decided, Transition)
        assert flow.write(session, [decided], now=now) == [True]
    return session.get([task_id(n)])[0]


async def waits(store: Store, n: int, key: str = "order 7", within: timedelta | None = None) -> TaskRecord:
    return await store.transact(lambda session: suspend(session, n, key, within))


async def got(store: Store, n: int) -> tuple[TaskState, JsonText | None]:
    (record,) = await store.read(lambda session: session.get([task_id(n)]))
    return record.state, record.received_json


async def kept(store: Store) -> list[KeptEvent]:
    return await store.read(lambda session: session.events.copy_out(0, limit=100))


def payment(cents: int) -> JsonText:
    return PAID.write(Payment(cents))


async def test_an_event_comes_to_everybody_who_waits_for_it_and_to_nobody_else(client: AnyClient) -> None:
    store = client.store
    for n, key in ((2, "order 7"), (1, "order 7"), (3, "order 8")):
        await waits(store, n, key)
    assert await client.send_event(PAID, "order 7", Payment(700)) == woke(1, 2)
    assert [await got(store, n) for n in (1, 2)] == [(TaskState.PENDING, payment(700))] * 2
    assert await got(store, 3) == (TaskState.SUSPENDED, None)
    assert await client.send_event("refunded", "order 8", 1) == KEPT
    assert await got(store, 3) == (TaskState.SUSPENDED, None)


async def test_an_event_that_nobody_waits_for_comes_to_the_first_who_does(client: AnyClient) -> None:
    store = client.store
    for cents in (700, 800):
        assert await client.send_event(PAID, "order 7", Payment(cents)) == KEPT
    first, second, third = [await waits(store, n) for n in (1, 2, 3)]
    assert [first.received_json, second.received_json, third.received_json] == [payment(700), payment(800), None]
    assert [each.state for each in (first, second, third)] == [*[TaskState.PENDING] * 2, TaskState.SUSPENDED]


async def test_an_event_that_came_to_somebody_comes_to_nobody_later(client: AnyClient) -> None:
    await waits(client.store, 1)
    assert await client.send_event(PAID, "order 7", Payment(700)) == woke(1)
    assert await kept(client.store) == []
    assert (await waits(client.store, 2)).state is TaskState.SUSPENDED


async def test_an_event_is_kept_a_week_unless_the_sender_says_otherwise(client: AnyClient) -> None:
    await client.send_event(PAID, "usual", Payment(1))
    await client.send_event(PAID, "hour", Payment(1), keep=HOUR)
    await client.send_event(PAID, "not", Payment(1), keep=timedelta(0))
    await client.send_event(PAID, "ever", Payment(1), keep=timedelta.max)
    found = {each.event.key: each.event for each in await kept(client.store)}
    assert {key: event.keep_until - event.sent_at for key, event in found.items() if key != "ever"} == {
        "usual": timedelta(days=7),
        "hour": HOUR,
    }
    assert found["ever"].keep_until == LAST_MOMENT


async def test_the_same_event_sent_again_under_its_id_does_nothing(client: AnyClient) -> None:
    store = client.store
    await waits(store, 1)
    assert await client.send_event(PAID, "order 7", Payment(700), id="webhook 1") == woke(1)
    await waits(store, 2)
    assert await client.send_event(PAID, "order 7", Payment(700), id="webhook 1") == REPEATED
    assert await got(store, 2) == (TaskState.SUSPENDED, None)
    assert await client.send_event(PAID, "order 7", Payment(800), id="webhook 2") == woke(2)
    for _ in range(2):
        await client.send_event(PAID, "order 8", Payment(900), id="webhook 1")
    assert (await waits(store, 3, "order 8")).received_json == payment(900)
    assert (await waits(store, 4, "order 8")).received_json is None
    assert await client.send_event(PAID, "order 8", Payment(900), id="webhook 1") == REPEATED


async def test_a_payload_by_a_bare_name_is_the_json_that_the_events_type_writes(client: AnyClient) -> None:
    await waits(client.store, 1)
    assert await client.send_event("paid", "order 7", {"cents": 700}) == woke(1)
    assert await got(client.store, 1) == (TaskState.PENDING, payment(700))


async def test_who_waits_says_so(client: AnyClient) -> None:
    until = datetime(2999, 1, 1, tzinfo=UTC)
    await waits(client.store, 1)
    (gate, *_) = cast("Any", (await client.explain(task_id(1))).unwrap())
    assert gate == EventAwaited("paid", "order 7", None)
    await client.proceed(task_id(1), at=until)
    (gate, *_) = cast("Any", (await client.explain(task_id(1))).unwrap())
    assert gate == EventAwaited("paid", "order 7", until)


@EACH_DATABASE
async def test_an_event_of_a_transaction_is_sent_with_its_commit(own_client: AnyClient) -> None:
    store = own_client.store
    await waits(store, 1)
    connection = own_connection(store)
    try:
        for word, state in (("rollback", TaskState.SUSPENDED), ("commit", TaskState.PENDING)):
            connection.execute("begin")
            within = own_client.within(connection)
            assert within.send_event(PAID, "order 7", Payment(700), id="webhook 1") == woke(1)
            assert within.send_event("paid", "order 7", 1, id="webhook 1") == REPEATED
            connection.execute(word)
            assert (await got(store, 1))[0] is state
    finally:
        connection.close()


WRONG: dict[str, Any] = {
    "the name of an event 'a b' is not a name": ("a b", "k", 1, {}),
    "an event is a NamedEvent, or the name of one as text, got 7": (7, "k", 1, {}),
    "the key of an event is 1 to 200 characters of text, got ''": (PAID, "", Payment(1), {}),
    "the key of an event is 1 to 200 characters of text, got None": (PAID, None, Payment(1), {}),
    "the id of an event is 1 to 200 characters of text, got 'a\\\\x00'": (PAID, "k", Payment(1), {"id": "a\0"}),
    "`keep` is a timedelta of zero or more, .* got 7": (PAID, "k", Payment(1), {"keep": 7}),
    "`keep` is a timedelta of zero or more, .* got .*days=-1": (PAID, "k", Payment(1), {"keep": -24 * HOUR}),
    "an id is known as long as the event is kept": (PAID, "k", Payment(1), {"id": "a", "keep": timedelta(0)}),
}


@pytest.mark.parametrize("message", WRONG)
async def test_a_wrong_argument_is_refused_by_name(message: str) -> None:
    store = LosesReplies()
    event, key, payload, named = WRONG[message]
    for client in (Client(store), Threaded(BlockingClient(store))):
        with pytest.raises(ConfigurationError, match=message):
            await cast("Any", client).send_event(event, key, payload, **named)


@pytest.mark.parametrize("payload", [Payment(cast("Any", "700")), None, {"cents": 700}])
async def test_a_payload_that_is_not_the_events_own_is_refused_and_nothing_is_kept(payload: Any) -> None:
    store = LosesReplies()
    clients: list[AnyClient] = [Client(store), Threaded(BlockingClient(store))]
    for client in clients:
        with pytest.raises(InvalidPayload, match="the payload of the event 'paid'"):
            await client.send_event(PAID, "order 7", payload)
    assert await kept(store) == []


@pytest.mark.parametrize("written", [True, False], ids=["written", "not written"])
async def test_a_lost_reply_is_asked_for_again_where_an_id_makes_that_harmless(written: bool) -> None:
    store = LosesReplies()
    clients: list[AnyClient] = [Client(store), Threaded(BlockingClient(store))]
    for n, client in enumerate(clients):
        await waits(store, n, str(n))
        store.faults = [(written, CommitUnknown("lost"))]
        sent = await client.send_event(PAID, str(n), Payment(700), id="webhook 1")
        assert sent == (REPEATED if written else woke(n))
        assert await got(store, n) == (TaskState.PENDING, payment(700))


async def test_a_lost_reply_without_an_id_or_twice_is_the_callers_to_look_at() -> None:
    store = LosesReplies()
    clients: list[AnyClient] = [Client(store), Threaded(BlockingClient(store))]
    for client in clients:
        store.faults = [(True, CommitUnknown("lost"))]
        with pytest.raises(CommitUnknown, match="lost"):
            await client.send_event(PAID, "order 7", Payment(700))
        store.faults = [(True, CommitUnknown("lost")), (False, StoreUnreachable("away"))]
        with pytest.raises(CommitUnknown, match="lost"):
            await client.send_event(PAID, "order 7", Payment(700), id="webhook 1")
