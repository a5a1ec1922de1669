"""What a program says and asks of queues, of both clients on all stores: pauses, bounds, and who waits for room."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest
import trio
from returns.result import Failure as Refused

from milepost import (
    REPLACE,
    Audit,
    BlockingClient,
    Client,
    ConfigurationError,
    EnqueueRefused,
    QueueFull,
    QueueSettings,
    Store,
    TaskId,
    TaskQuery,
    TaskRequest,
    WhenFull,
    open_store,
)
from milepost.client.verbs import drafts_of
from milepost.lifecycle import events
from milepost.payload import JsonText
from milepost.stores import operations
from milepost.stores.protocol import ClaimOrder
from tests.client.test_client import refused
from tests.client.threaded import AnyClient, Order, Threaded, ship
from tests.executor.kit import PATIENCE_SECONDS, change

pytestmark = pytest.mark.anyio

X = JsonText("{}")
ANSWERED = events.Succeeded(JsonText("null"))


def order(queue: str = "mail", n: int = 1) -> TaskRequest[Any, Any, Any, Any]:
    return ship.with_metadata(Order(n)).in_queue(queue)


async def fill(client: AnyClient, count: int, queue: str = "mail") -> list[TaskId]:
    return [handle.id for handle in await client.enqueue_all([order(queue, n) for n in range(count)])]


async def make_room(client: AnyClient, queue: str = "mail") -> TaskId:
    """Let one task start, as an executor does."""
    claim = ClaimOrder("ada", queue, {"ship": 1}, 1, due_max=1)
    (claimed,) = await client.store.transact(lambda session: session.claim(claim, now=session.now()))
    return claimed.id


async def queue_of(client: AnyClient, id: TaskId) -> str:
    return (await client.get(id)).unwrap().queue


# Settings.


async def test_what_is_said_of_a_queue_is_kept_and_only_what_is_given_changes(client: AnyClient) -> None:
    first = await client.set_queue("mail", weight=3, capacity=10)
    assert first == QueueSettings(name="mail", weight=3, capacity=10)
    second = await client.set_queue("mail", concurrency=2, when_full=WhenFull.WAIT)
    assert second == QueueSettings(name="mail", weight=3, capacity=10, concurrency=2, when_full=WhenFull.WAIT)
    third = await client.set_queue("mail", capacity=None, concurrency=None)
    assert third == QueueSettings(name="mail", weight=3, when_full=WhenFull.WAIT)
    assert await client.set_queue("mail") == third
    assert [info.settings for info in await client.queues()] == [third]


async def test_a_queue_that_is_as_any_other_again_is_listed_no_more(client: AnyClient) -> None:
    await client.set_queue("mail", weight=3, when_full=WhenFull.SPILL, spill_to="bulk")
    await client.set_queue("mail", weight=1, when_full=WhenFull.REJECT, spill_to=None)
    assert await client.queues() == []


async def test_a_pause_says_since_when_and_why_until_the_queue_goes_on(client: AnyClient) -> None:
    await client.set_queue("mail", weight=3)
    paused = await client.pause_queue("mail", reason="the server is down")
    assert (paused.is_paused, paused.weight) == (True, 3)
    assert paused.paused_reason == "the server is down"
    again = await client.pause_queue("mail", reason="still down")
    assert (again.paused_at, again.paused_reason) == (paused.paused_at, "still down")
    assert (await client.queues())[0].settings == again
    assert await client.resume_queue("mail") == QueueSettings(name="mail", weight=3)
    assert await client.resume_queue("never-paused") == QueueSettings(name="never-paused")


async def test_tasks_are_enqueued_into_a_paused_queue(client: AnyClient) -> None:
    await client.pause_queue("mail")
    handle = await client.enqueue(order())
    assert handle.created


async def test_every_queue_with_settings_or_live_tasks_is_listed_with_its_load(client: AnyClient) -> None:
    await client.set_queue("idle", weight=2)
    first, suspended, ended, stalled, *_ = await fill(client, 6)
    await client.enqueue(order().after(timedelta(hours=1)))
    for id in (first, suspended, ended, stalled):
        await change(client.store, id, events.Claimed("ada", "token"))
    await change(client.store, suspended, events.Suspended(X))
    await change(client.store, ended, ANSWERED)
    await change(client.store, stalled, events.Stalled())
    (gone,) = await fill(client, 1, "ended")
    await client.cancel(gone)
    idle, mail = await client.queues()
    assert (idle.name, idle.settings.weight, idle.waiting, idle.oldest_due_at) == ("idle", 2, 0, None)
    assert (mail.name, mail.settings) == ("mail", QueueSettings(name="mail"))
    assert (mail.waiting, mail.due, mail.running, mail.suspended, mail.quarantined) == (3, 2, 1, 1, 1)
    assert mail.oldest_due_at == (await client.get(first)).unwrap().created_at


BAD: dict[str, tuple[Callable[[Any], Any], str]] = {
    "name": (lambda c: c.pause_queue("no spaces"), "the queue 'no spaces' is not a name: use 1 to 200 letters"),
    "no name": (lambda c: c.resume_queue(""), "the queue '' is not a name"),
    "no text": (lambda c: c.set_queue(7), "the queue 7 is not a name"),
    "weight": (lambda c: c.set_queue("q", weight=0), "weight of a queue is a whole number from 1 to 2147483647, got 0"),
    "weight gone": (lambda c: c.set_queue("q", weight=None), "weight of a queue is a whole number .* got None"),
    "half": (lambda c: c.set_queue("q", weight=1.5), "weight of a queue is a whole number .* got 1.5"),
    "true": (lambda c: c.set_queue("q", concurrency=True), "concurrency of a queue is a whole number .* got True"),
    "none at all": (lambda c: c.set_queue("q", concurrency=0), "from 1 to 2147483647, or None for no bound, got 0"),
    "too many": (lambda c: c.set_queue("q", capacity=2**31), "capacity of a queue is a whole number .* got 2147483648"),
    "policy": (
        lambda c: c.set_queue("q", when_full="wait"),
        "when_full of a queue is REJECT, WAIT or SPILL, got",
    ),
    "nowhere": (
        lambda c: c.set_queue("q", when_full=WhenFull.SPILL),
        "the queue 'q' is to SPILL .* say where",
    ),
    "itself": (
        lambda c: c.set_queue("q", when_full=WhenFull.SPILL, spill_to="q"),
        "queues cannot spill in a circle: 'q' to 'q'",
    ),
    "no spilling": (
        lambda c: c.set_queue("q", spill_to="other"),
        r"'q' does not spill, so spill_to='other' would do nothing: give it when_full=WhenFull.SPILL too, it is REJECT",
    ),
    "reason": (lambda c: c.pause_queue("q", reason=None), "`reason` says why, in text, got None"),
    "bad target": (lambda c: c.set_queue("q", spill_to="a b"), "the queue 'a b' is not a name"),
}


@pytest.mark.parametrize(("verb", "message"), BAD.values(), ids=BAD)
async def test_what_cannot_be_said_of_a_queue_is_refused_and_changes_nothing(
    client: AnyClient, verb: Callable[[Any], Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        await verb(client)
    assert await client.queues() == []


async def test_queues_cannot_be_made_to_spill_in_a_circle(client: AnyClient) -> None:
    await client.set_queue("a", when_full=WhenFull.SPILL, spill_to="b")
    await client.set_queue("b", when_full=WhenFull.SPILL, spill_to="c")
    with pytest.raises(ConfigurationError, match="queues cannot spill in a circle: 'c' to 'a' to 'b' to 'c'"):
        await client.set_queue("c", when_full=WhenFull.SPILL, spill_to="a")
    assert [info.name for info in await client.queues()] == ["a", "b"]


async def test_where_a_queue_spills_can_be_changed_alone_and_taken_away_once_it_does_not_spill(
    client: AnyClient,
) -> None:
    await client.set_queue("mail", when_full=WhenFull.SPILL, spill_to="bulk")
    assert (await client.set_queue("mail", spill_to="night")).spill_to == "night"
    assert (await client.set_queue("mail", when_full=WhenFull.REJECT)).spill_to == "night"
    assert (await client.set_queue("mail", spill_to=None)) == QueueSettings(name="mail")


@pytest.mark.parametrize("seconds", ["1", -1, float("nan"), True])
async def test_how_long_an_enqueue_waits_for_room_is_a_number_from_zero(client: AnyClient, seconds: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"timeout_seconds .* or None for no limit, got "):
        await client.enqueue(order(), timeout_seconds=seconds)
    assert await client.count(TaskQuery()) == 0


# Refused.


async def test_one_too_many_is_refused_with_a_value(client: AnyClient) -> None:
    await client.set_queue("mail", capacity=3)
    await fill(client, 3)
    assert refused(await client.try_enqueue(order())) == QueueFull("mail", 3)
    with pytest.raises(EnqueueRefused, match="the queue 'mail' is full: its capacity is 3") as raised:
        await client.enqueue(order())
    assert raised.value.reason == QueueFull("mail", 3)
    assert (await client.enqueue(order("other"))).created
    await make_room(client)
    assert (await client.enqueue(order())).created


@pytest.mark.parametrize("batch", [4, 700])
async def test_of_a_batch_that_does_not_fit_nothing_is_enqueued(client: AnyClient, batch: int) -> None:
    await client.set_queue("mail", capacity=batch - 1)
    answer = await client.try_enqueue_all([order("other"), *(order(n=n) for n in range(batch)), order("other")])
    assert refused(answer) == QueueFull("mail", batch - 1)
    assert await client.count(TaskQuery()) == 0
    assert len(await fill(client, batch - 1)) == batch - 1


async def test_what_waits_for_a_later_time_takes_room_and_what_runs_or_rests_does_not(client: AnyClient) -> None:
    await client.set_queue("mail", capacity=1)
    later = await client.enqueue(order().after(timedelta(hours=1)))
    assert refused(await client.try_enqueue(order())) == QueueFull("mail", 1)
    await client.cancel(later.id)
    (id,) = await fill(client, 1)
    assert await make_room(client) == id
    (other,) = await fill(client, 1)
    assert await make_room(client) == other
    await change(client.store, other, events.Suspended(X))
    assert (await client.enqueue(order())).created


async def test_a_request_that_joins_a_live_task_needs_no_room(client: AnyClient) -> None:
    await client.set_queue("mail", capacity=1)
    first = await client.enqueue(order().with_key("k"))
    again = await client.enqueue(order().with_key("k"))
    assert (again.id, again.created) == (first.id, False)
    assert refused(await client.try_enqueue_all([order().with_key("k"), order()])) == QueueFull("mail", 1)


async def test_a_task_that_replaces_another_takes_its_room(client: AnyClient) -> None:
    await client.set_queue("mail", capacity=1)
    await client.enqueue(order().with_key("k"))
    second = await client.enqueue(order().with_key("k", REPLACE))
    assert second.created
    two = [order().with_key("k", REPLACE), order().with_key("k", REPLACE)]
    third, fourth = await client.enqueue_all(two)
    assert (third.created, fourth.created) == (True, True)
    assert await client.count(TaskQuery().with_queue("mail")) == 4
    assert (await client.queues())[0].waiting == 1


async def test_nothing_that_was_enqueued_once_is_refused_later(client: AnyClient) -> None:
    await client.set_queue("mail", capacity=1)
    first = (await fill(client, 1))[0]
    await make_room(client)
    second = (await fill(client, 1))[0]
    await change(client.store, first, events.Interrupted())
    await make_room(client)
    await make_room(client)
    third = (await fill(client, 1))[0]
    await change(client.store, first, events.Failed(X, retry_after=timedelta(0)))
    await change(client.store, second, ANSWERED)
    assert (await client.requeue(second)).unwrap().due_at is not None
    (mail,) = await client.queues()
    assert (mail.waiting, mail.settings.capacity) == (3, 1)
    assert await queue_of(client, third) == "mail"


# Spilled.


async def test_what_does_not_fit_goes_into_another_queue(client: AnyClient) -> None:
    await client.set_queue("mail", capacity=2, when_full=WhenFull.SPILL, spill_to="bulk")
    ids = await fill(client, 5)
    assert [await queue_of(client, id) for id in ids] == ["mail", "mail", "bulk", "bulk", "bulk"]


async def test_the_bound_of_the_queue_that_is_spilled_to_counts_too(client: AnyClient) -> None:
    await client.set_queue("mail", capacity=1, when_full=WhenFull.SPILL, spill_to="bulk")
    await client.set_queue("bulk", capacity=2, when_full=WhenFull.SPILL, spill_to="late")
    await client.set_queue("late", capacity=1)
    ids = await fill(client, 4)
    assert [await queue_of(client, id) for id in ids] == ["mail", "bulk", "bulk", "late"]
    assert refused(await client.try_enqueue(order())) == QueueFull("late", 1)


async def test_a_task_that_was_spilled_and_replaced_in_one_call_is_one_task(client: AnyClient) -> None:
    await client.set_queue("mail", capacity=1, when_full=WhenFull.SPILL, spill_to="bulk")
    await fill(client, 1)
    first, second = await client.enqueue_all([order().with_key("k"), order().with_key("k", REPLACE)])
    assert [await queue_of(client, handle.id) for handle in (first, second)] == ["bulk", "bulk"]
    assert {info.name: info.waiting for info in await client.queues()} == {"mail": 1, "bulk": 1}


# Waiting.


async def test_who_enqueues_waits_until_there_is_room(client: AnyClient) -> None:
    await client.set_queue("mail", capacity=1, when_full=WhenFull.WAIT)
    await fill(client, 1)
    got: list[TaskId] = []

    async def wait() -> None:
        got.append((await client.enqueue(order())).id)

    with trio.fail_after(PATIENCE_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            assert refused(await client.try_enqueue(order(), timeout_seconds=0.05)) == QueueFull("mail", 1)
            assert not got
            first = await make_room(client)
            await change(client.store, first, ANSWERED)
    assert await queue_of(client, got[0]) == "mail"
    assert (await client.queues())[0].waiting == 1


async def test_who_waits_hears_of_a_capacity_that_was_raised(client: AnyClient) -> None:
    await client.set_queue("mail", capacity=1, when_full=WhenFull.WAIT)
    await fill(client, 1)
    with trio.fail_after(PATIENCE_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.enqueue, order())
            nursery.start_soon(client.enqueue, order())
            refused(await client.try_enqueue(order(), timeout_seconds=0))
            await client.set_queue("mail", capacity=3)
    assert (await client.queues())[0].waiting == 3


async def test_what_would_not_fit_into_an_empty_queue_is_not_waited_for(client: AnyClient) -> None:
    await client.set_queue("mail", capacity=2, when_full=WhenFull.WAIT)
    await fill(client, 1)
    with trio.fail_after(PATIENCE_SECONDS):
        assert refused(await client.try_enqueue_all([order(n=n) for n in range(3)])) == QueueFull("mail", 2)


async def test_who_waits_for_room_can_be_cancelled(store: Store) -> None:
    client = Client(store)
    await client.set_queue("mail", capacity=1, when_full=WhenFull.WAIT)
    await fill(client, 1)
    with trio.move_on_after(0.05) as waiting:
        await client.enqueue(order())
    assert waiting.cancelled_caught
    assert await client.count(TaskQuery()) == 1


async def test_inside_your_own_transaction_nobody_waits(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path / 'tasks.db'}") as store:
        for client in (Client(store), Threaded(BlockingClient(store))):
            queue = f"q{id(client)}"
            await client.set_queue(queue, capacity=1, when_full=WhenFull.WAIT)
            connection: Any = apsw.Connection(str(tmp_path / "tasks.db"))
            connection.execute("begin immediate")
            inside = client.within(connection)
            assert inside.enqueue(order(queue)).created
            assert refused(inside.try_enqueue(order(queue))) == QueueFull(queue, 1)
            with pytest.raises(EnqueueRefused, match="is full"):
                inside.enqueue_all([order(queue)])
            connection.execute("rollback")
            assert (await client.enqueue(order(queue))).created, "what was rolled back took room"
            connection.close()


@pytest.mark.slow
async def test_many_who_enqueue_at_once_do_not_overfill_a_queue(client: AnyClient) -> None:
    await client.set_queue("mail", capacity=25, when_full=WhenFull.SPILL, spill_to="bulk")
    await client.set_queue("bulk", capacity=10)
    refusals: list[object] = []

    async def enqueue_some() -> None:
        for n in range(5):
            answer = await client.try_enqueue_all([order(n=n), order(n=n)])
            if isinstance(answer, Refused):
                refusals.append(answer.failure())

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(enqueue_some)
    waiting = {info.name: info.waiting for info in await client.queues()}
    assert waiting["mail"] == 25
    assert waiting["bulk"] in (9, 10), "the last place takes no pair"
    assert sum(waiting.values()) == 2 * (30 - len(refusals))


async def test_a_queue_without_a_capacity_costs_no_statement_of_its_own(store: Store) -> None:
    """Whatever the store, an enqueue into it neither locks nor counts nor reads settings."""

    def enqueue_without_settings(session: Any) -> None:
        class Watched:
            @property
            def settings(self) -> None:
                raise AssertionError("the settings of queues were asked for")

            def __getattr__(self, name: str) -> Any:
                return getattr(session, name)

        drafts = drafts_of([order()], Audit.FULL).unwrap()
        watched: Any = Watched()
        assert operations.enqueue(watched, drafts).unwrap()[0].created

    await store.transact(enqueue_without_settings)
