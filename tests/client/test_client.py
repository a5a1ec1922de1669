"""What a program asks of live tasks, of both clients on both stores."""

from __future__ import annotations

import sqlite3
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import apsw
import psycopg
import pytest
import trio
from attrs import frozen
from returns.result import Failure as Refused

from milepost import (
    KEEP,
    REJECT,
    REPLACE,
    Audit,
    BlockingClient,
    CancelAccepted,
    Cancellation,
    Client,
    ConfigurationError,
    Crash,
    CrashKind,
    EnqueueRefused,
    Failure,
    HistoryKind,
    KeyTaken,
    MixedSqliteLibraries,
    PayloadRefused,
    Store,
    Success,
    TaskDefinitionError,
    TaskGone,
    TaskId,
    TaskNotFound,
    TaskQuery,
    TaskRecord,
    TaskResult,
    TaskState,
    WrongState,
    open_executor,
    open_store,
    task,
)
from milepost.lifecycle import events
from milepost.payload import JsonText, storable_text
from tests.client.threaded import AnyClient, Color, Order, Part, Progress, Threaded, bill, ship
from tests.executor.kit import PATIENCE_SECONDS, PassingStore, change, quick

NOBODY = TaskId("00000000-0000-7000-8000-000000000000")
WRONG: Any = Order(cast("Any", b"x"))
CLAIMED = events.Claimed("ada", "token")


def refused(answer: Any) -> Any:
    """The refusal that `answer` must be."""
    assert isinstance(answer, Refused), answer
    return cast("Any", answer).failure()


async def record_of(client: AnyClient, id: TaskId) -> TaskRecord:
    return (await client.get(id)).unwrap()


async def ended(client: AnyClient, *steps: events.Event) -> TaskId:
    """A task to which all this has happened."""
    id = (await client.enqueue(ship.with_metadata(Order(1)))).id
    for step in steps:
        await change(client.store, id, step)
    return id


# Enqueue.


async def test_an_enqueued_task_is_there_as_it_was_asked_for(client: AnyClient) -> None:
    request = ship.with_metadata(Order(1)).with_key("k").with_priority(3).in_queue("slow").with_correlation("order-1")
    handle = await client.enqueue(request.with_execution_metadata(Progress(7)))
    assert handle.created
    record = await record_of(client, handle.id)
    assert (record.name, record.key, record.priority, record.queue) == ("ship", "k", 3, "slow")
    assert (record.correlation, record.state, record.execution_metadata) == (
        "order-1",
        TaskState.PENDING,
        {"page": 7, "part": None},
    )
    assert [event.kind for event in await client.history(handle.id)] == [HistoryKind.ENQUEUED]
    assert handle.outcome(record) is None


async def test_the_audit_of_the_client_counts_where_nobody_else_decides(store: Store) -> None:
    for client in (Client(store, audit=Audit.NONE), Threaded(BlockingClient(store, audit=Audit.NONE))):
        handle = await client.enqueue(ship.with_metadata(Order(1)))
        assert (await record_of(client, handle.id)).audit is Audit.NONE


async def test_several_tasks_are_enqueued_in_order(client: AnyClient) -> None:
    handles = await client.enqueue_all([ship.with_metadata(Order(n)) for n in range(5)])
    assert [handle.id for handle in handles] == sorted(handle.id for handle in handles)
    assert await client.enqueue_all([]) == []


async def test_all_or_none_are_enqueued_when_one_in_the_middle_cannot_be_stored(client: AnyClient) -> None:
    requests = [ship.with_metadata(Order(1)), ship.with_metadata(WRONG), ship.with_metadata(Order(2))]
    reason = refused(await client.try_enqueue_all(requests))
    assert isinstance(reason, PayloadRefused)
    assert str(reason).startswith("request 1 (ship): metadata $.id: expected int | str, got bytes")
    with pytest.raises(EnqueueRefused) as raised:
        await client.enqueue_all(requests)
    assert raised.value.reason == reason
    assert str(raised.value) == str(reason)
    assert await client.count(TaskQuery()) == 0


async def test_all_or_none_are_enqueued_when_a_key_in_the_middle_is_taken(client: AnyClient) -> None:
    holder = await client.enqueue(ship.with_metadata(Order(0)).with_key("k"))
    requests = [
        ship.with_metadata(Order(1)),
        ship.with_metadata(Order(2)).with_key("k", REJECT),
        ship.with_metadata(Order(3)),
    ]
    assert refused(await client.try_enqueue_all(requests)) == KeyTaken("ship", "k", holder.id)
    with pytest.raises(EnqueueRefused, match="the key 'k' of 'ship' is held by the live task"):
        await client.enqueue_all(requests)
    assert await client.count(TaskQuery()) == 1


async def test_a_request_without_the_execution_metadata_that_it_needs_is_a_programming_error(client: AnyClient) -> None:
    @frozen
    class Needed:
        page: int

    @task
    def needing(metadata: Order, progress: Needed) -> TaskResult[int, str]:
        return Success.with_result(1)

    with pytest.raises(TaskDefinitionError, match="cannot start without execution metadata"):
        await client.enqueue(needing.with_metadata(Order(1)))
    with pytest.raises(TaskDefinitionError):
        await client.try_enqueue(needing.with_metadata(Order(1)))


# Keys.


async def test_keep_joins_the_live_task_and_never_looks_at_the_new_metadata(client: AnyClient) -> None:
    first = await client.enqueue(ship.with_metadata(Order(1)).with_key("k"))
    second = await client.enqueue(ship.with_metadata(Order(2)).with_key("k", KEEP))
    assert (second.id, second.created) == (first.id, False)
    other = await client.enqueue(bill.with_metadata(Order(1)).with_key("k"))
    assert other.created, "a key belongs to one task's name"
    await client.cancel(first.id)
    third = await client.enqueue(ship.with_metadata(Order(3)).with_key("k"))
    assert third.created, "a final task holds no key"


async def test_replace_cancels_a_waiting_holder_and_is_refused_by_a_running_one(client: AnyClient) -> None:
    first = await client.enqueue(ship.with_metadata(Order(1)).with_key("k"))
    second = await client.enqueue(ship.with_metadata(Order(2)).with_key("k", REPLACE))
    assert second.created
    assert await client.wait(first.id) == Crash(CrashKind.CANCELLED, f"replaced by {second.id}")
    await change(client.store, second.id, CLAIMED)
    third = await client.try_enqueue(ship.with_metadata(Order(3)).with_key("k", REPLACE))
    assert refused(third) == KeyTaken("ship", "k", second.id)
    assert await client.count(TaskQuery()) == 2


async def test_two_requests_of_one_call_may_have_one_key(client: AnyClient) -> None:
    request = ship.with_metadata(Order(1))
    first, second = await client.enqueue_all([request.with_key("keep"), request.with_key("keep", KEEP)])
    assert (first.id, first.created, second.created) == (second.id, True, False)
    first, second = await client.enqueue_all([request.with_key("replace"), request.with_key("replace", REPLACE)])
    assert first.id != second.id
    assert (await record_of(client, first.id)).state is TaskState.CANCELLED
    assert (await record_of(client, second.id)).state is TaskState.PENDING
    before = await client.count(TaskQuery())
    reason = refused(await client.try_enqueue_all([request.with_key("reject"), request.with_key("reject", REJECT)]))
    assert isinstance(reason, KeyTaken)
    assert await client.count(TaskQuery()) == before


# Look.


async def test_an_unknown_task_is_not_found(client: AnyClient) -> None:
    assert refused(await client.get(NOBODY)) == TaskNotFound(NOBODY)
    assert await client.history(NOBODY) == []
    assert refused(await client.cancel(NOBODY)) == TaskNotFound(NOBODY)
    assert refused(await client.requeue(NOBODY)) == TaskNotFound(NOBODY)
    assert refused(await client.delete(NOBODY)) == TaskNotFound(NOBODY)
    with pytest.raises(TaskGone, match=rf"there is no task {NOBODY} \(any more\)"):
        await client.wait(NOBODY, timeout_seconds=1)


async def test_an_empty_id_is_told_as_such(client: AnyClient) -> None:
    assert str(refused(await client.get(TaskId("")))) == "there is no task ''"
    with pytest.raises(TaskGone, match=r"there is no task '' \(any more\)"):
        await client.wait(TaskId(""), timeout_seconds=1)


async def test_each_filter_finds_what_it_says(client: AnyClient) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    a, b, c = (
        handle.id
        for handle in await client.enqueue_all(
            [
                ship.with_metadata(Order(42)).with_key("k1").with_correlation("c1"),
                ship.with_metadata(Order("42")).in_queue("slow").with_execution_metadata(Progress(1, Part("nut"))),
                bill.with_metadata(Order(7, Part("nut", Color.BLUE), tags=("x", "y"))).at(soon).with_key("k2"),
            ]
        )
    )
    await client.cancel(b)
    query = TaskQuery[Any]()
    found: list[tuple[TaskQuery[Any], list[TaskId]]] = [
        (query, [a, b, c]),
        (query.newest_first(), [c, b, a]),
        (TaskQuery.for_task(ship), [a, b]),
        (query.with_id(c, a, NOBODY), [a, c]),
        (query.with_id(), []),
        (query.with_name("bill"), [c]),
        (query.with_name("ship", "bill"), [a, b, c]),
        (query.with_state(TaskState.CANCELLED), [b]),
        (query.live(), [a, c]),
        (query.with_queue("slow"), [b]),
        (query.with_key("k1", "k2", "k3"), [a, c]),
        (query.with_correlation("c1"), [a]),
        (query.with_correlation("'; drop table milepost_task; --"), []),
        (query.with_metadata(id=42), [a]),
        (query.with_metadata(id="42"), [b]),
        (query.with_metadata(id=True), []),
        (query.with_metadata(at=datetime(2030, 1, 1, tzinfo=UTC)), [a, b, c]),
        (query.with_metadata(part={"sku": "nut"}), [c]),
        (query.with_metadata(part={"color": Color.BLUE}), [c]),
        (query.with_metadata(part=Part("bolt")), [a, b]),
        (query.with_metadata(Order(7, Part("nut", Color.BLUE))), [c]),
        (query.with_metadata(tags=["y"]), [c]),
        (query.with_metadata(tags=("x", "y")), [c]),
        (query.with_metadata(tags={"y"}), [c]),
        (query.with_metadata(id=7, tags=["z"]), []),
        (query.with_metadata(id=42).with_metadata(id=7), []),
        (query.with_metadata(unknown=None), []),
        (TaskQuery.for_task(ship).with_execution_metadata(Progress(1, Part("nut"))), [b]),
        (query.with_execution_metadata(page=0), [a, c]),
        (query.with_execution_metadata(part=None), [a, c]),
        (query.created(before=soon), [a, b, c]),
        (query.created(start=soon), []),
        (query.due(start=soon), [c]),
        (query.due(before=soon), [a]),
        (query.finished(before=soon), [b]),
        (query.finished(start=soon), []),
        (query.with_text("SHIP"), [a, b]),
        (query.with_text('"SKU":"nut"', "C1"), [a, b, c]),
        (query.with_text('"SKU":"nut"').with_state(TaskState.PENDING), [c]),
        (query.with_text("no such", "%"), []),
        (query.dead_letters(), []),
    ]
    for each, wanted in found:
        page = await client.search(each)
        assert [record.id for record in page.records] == wanted, each
        assert page.next_cursor is None
        assert await client.count(each) == len(wanted)


def test_a_query_refuses_what_it_cannot_look_for() -> None:
    naive = datetime(2030, 1, 1)
    query = TaskQuery[Any]()
    for size in (0, -1, 1_001, 10**9, 1.0, True):
        with pytest.raises(ConfigurationError, match="a page has 1 to 1000 tasks"):
            query.with_page_size(cast("Any", size))
    for value in (
        naive,
        {naive},
        [{"a": naive}],
        1 + 2j,
        object(),
        float("nan"),
        "\ud800",
        {"a\0": 1},
        Part(cast("Any", 1)),
    ):
        with pytest.raises(ConfigurationError, match="a query cannot look for this value"):
            query.with_metadata(value=value)
    with pytest.raises(ConfigurationError, match="expected Progress, got Order"):
        TaskQuery.for_task(ship).with_execution_metadata(cast("Any", Order(1)))
    for wrong in ({"start": naive}, {"before": naive}):
        with pytest.raises(ConfigurationError, match="has no time zone"):
            query.created(**wrong)
        with pytest.raises(ConfigurationError, match="has no time zone"):
            query.due(**wrong)
        with pytest.raises(ConfigurationError, match="has no time zone"):
            query.finished(**wrong)
    for text in ("", "x" * 201, "a\0", "\ud800", 5, None):
        with pytest.raises(ConfigurationError, match="a text to search for has 1 to 200 characters"):
            query.with_text("fine", cast("Any", text))


async def test_dead_letters_are_what_waits_for_a_person(client: AnyClient) -> None:
    failed = await ended(client, CLAIMED, events.Failed(JsonText('"no"')))
    quarantined = await ended(client, CLAIMED, events.Stalled())
    await ended(client, CLAIMED, events.Succeeded(JsonText('"ok"')))
    await ended(client, events.CancelRequested("enough"))
    await ended(client, CLAIMED, events.Suspended(None))
    page = await client.search(TaskQuery.for_task(ship).dead_letters())
    assert [record.id for record in page.records] == [failed, quarantined]


async def test_what_no_task_can_have_is_found_nowhere_and_is_no_fault(client: AnyClient) -> None:
    await client.enqueue(ship.with_metadata(Order(1)).with_key("k"))
    for text in ("\0", "k\0", "\ud800"):
        assert refused(await client.get(TaskId(text))) == TaskNotFound(TaskId(storable_text(text)))
        assert await client.history(TaskId(text)) == []
        nowhere = [
            TaskQuery[Any]().with_key(text),
            TaskQuery[Any]().with_id(TaskId(text)),
            TaskQuery[Any]().with_name(text),
        ]
        assert [await client.count(query) for query in nowhere] == [0, 0, 0]
        with pytest.raises(ConfigurationError, match="a cursor is what a page gave as its next_cursor, got "):
            TaskQuery[Any]().after_cursor(TaskId(text))


@pytest.mark.parametrize("size", [1, 3, 7, 10])
async def test_pages_are_complete_without_gap_or_repeat(client: AnyClient, size: int) -> None:
    ids = [handle.id for handle in await client.enqueue_all([ship.with_metadata(Order(n)) for n in range(7)])]
    for query, wanted in ((TaskQuery[Any](), ids), (TaskQuery[Any]().newest_first(), ids[::-1])):
        seen: list[TaskId] = []
        cursor: TaskId | None = None
        while True:
            page = await client.search(query.with_page_size(size).after_cursor(cursor))
            assert len(page.records) <= size
            seen += [record.id for record in page.records]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert seen == wanted
        assert await client.count(query.after_cursor(ids[3])) == 7, "a count is not of a page"


# Wait.


RAISED = Crash(CrashKind.EXCEPTION, "no such row", "LookupError", "Traceback")
LATE = Crash(CrashKind.TIMEOUT, "late")
BLUE = JsonText('{"color":"blue","sku":"a"}')

OUTCOMES: list[tuple[list[events.Event], object, object]] = [
    (
        [CLAIMED, events.Succeeded(BLUE)],
        Success.with_result(Part("a", Color.BLUE)),
        {"color": "blue", "sku": "a"},
    ),
    ([CLAIMED, events.Failed(JsonText('"bad"'), final=True)], Failure.with_error("bad"), "bad"),
    ([CLAIMED, events.GaveUp(JsonText('"no"'))], Cancellation.with_error("no"), "no"),
    ([CLAIMED, events.Crashed(RAISED, retryable=False)], RAISED, None),
    ([CLAIMED, events.Crashed(LATE, retryable=False)], LATE, None),
    ([events.CancelRequested("enough")], Crash(CrashKind.CANCELLED, "enough"), None),
]


@pytest.mark.parametrize(("steps", "typed", "plain"), OUTCOMES, ids=range(len(OUTCOMES)))
async def test_an_outcome_is_typed_by_its_handle_and_plain_by_its_id(
    client: AnyClient, steps: list[events.Event], typed: object, plain: object
) -> None:
    handle = await client.enqueue(ship.with_metadata(Order(1)))
    for step in steps:
        await change(client.store, handle.id, step)
    assert await client.wait(cast("Any", handle), timeout_seconds=5) == typed
    assert handle.outcome(await record_of(client, handle.id)) == typed
    by_id = await client.wait(handle.id, timeout_seconds=0)
    match by_id:
        case Success(result=value) | Failure(error=value) | Cancellation(error=value):
            assert value == plain
        case Crash():
            assert by_id == typed


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (events.DeadlineMissed(), CrashKind.DEADLINE),
        (events.Stalled(), CrashKind.STALLED),
    ],
)
async def test_deadline_and_quarantine_end_the_waiting(client: AnyClient, event: events.Event, kind: CrashKind) -> None:
    outcome = await client.wait(await ended(client, CLAIMED, event), timeout_seconds=5)
    assert isinstance(outcome, Crash)
    assert outcome.kind is kind


async def test_a_stored_outcome_that_does_not_fit_the_types_is_a_crash(client: AnyClient) -> None:
    handle = await client.enqueue(ship.with_metadata(Order(1)))
    for step in (CLAIMED, events.Succeeded(JsonText('{"sku":7}'))):
        await change(client.store, handle.id, step)
    outcome = await client.wait(cast("Any", handle), timeout_seconds=5)
    said = "the stored outcome does not fit the task's types: $.sku: expected str, got int 7"
    assert outcome == Crash(CrashKind.UNDECODABLE, said)
    assert await client.wait(handle.id) == Success({"sku": 7})


@pytest.mark.parametrize("seconds", [0, 0.01, -1])
async def test_who_waits_too_long_gets_a_timeout(client: AnyClient, seconds: float) -> None:
    handle = await client.enqueue(ship.with_metadata(Order(1)))
    with pytest.raises(TimeoutError, match=f"has not ended within {seconds} seconds"):
        await client.wait(handle.id, timeout_seconds=seconds)


@pytest.mark.parametrize("seconds", ["1", float("nan"), True])
async def test_how_long_one_waits_is_a_number_of_seconds(client: AnyClient, seconds: Any) -> None:
    with pytest.raises(ConfigurationError, match="timeout_seconds is a number of seconds, or None for no limit, got"):
        await client.wait(NOBODY, timeout_seconds=seconds)


@pytest.mark.parametrize("seconds", [0, -1, None])
async def test_who_begins_to_wait_after_the_end_gets_the_outcome_at_once(
    client: AnyClient, seconds: float | None
) -> None:
    id = await ended(client, events.CancelRequested("x"))
    assert await client.wait(id, timeout_seconds=seconds) == Crash(CrashKind.CANCELLED, "x")


async def test_a_task_that_is_deleted_ends_the_waiting(client: AnyClient) -> None:
    handle = await client.enqueue(ship.with_metadata(Order(1)))
    gone: list[bool] = []

    async def wait() -> None:
        with pytest.raises(TaskGone, match=rf"there is no task {handle.id} \(any more\)"):
            await client.wait(handle.id, timeout_seconds=PATIENCE_SECONDS)
        gone.append(True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked(0.01)
        await client.delete(handle.id)
    assert gone == [True]


async def test_two_hundred_wait_at_once_and_each_gets_its_own(store: Store) -> None:
    client = Client(store)
    handles = await client.enqueue_all(
        [bill.with_metadata(Order(n)).with_execution_metadata(Progress(n)) for n in range(200)]
    )
    outcomes: dict[int, object] = {}

    async def wait(n: int) -> None:
        outcomes[n] = await handles[n].wait(PATIENCE_SECONDS)

    async with open_executor(store, [bill], config=quick()), trio.open_nursery() as nursery:
        for n in range(200):
            nursery.start_soon(wait, n)
    assert outcomes == {n: Success.with_result(n) for n in range(200)}


async def test_followers_go_on_when_the_one_who_leads_is_cancelled(store: Store) -> None:
    client = Client(store)
    first, second, third = await client.enqueue_all([ship.with_metadata(Order(n)) for n in range(3)])
    outcomes: list[object] = []

    async def follow(id: TaskId) -> None:
        outcomes.append(await client.wait(id, timeout_seconds=PATIENCE_SECONDS))

    leader = trio.CancelScope()

    async def lead() -> None:
        with leader:
            await client.wait(first.id)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lead)
        await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.start_soon(follow, second.id)
        nursery.start_soon(follow, third.id)
        await trio.testing.wait_all_tasks_blocked(0.01)
        leader.cancel()
        await trio.testing.wait_all_tasks_blocked(0.01)
        await client.cancel(second.id, reason="2")
        await client.cancel(third.id, reason="2")
    assert outcomes == [Crash(CrashKind.CANCELLED, "2")] * 2


async def test_what_was_read_for_one_who_left_is_not_told_to_the_next(store: Store) -> None:
    """A follower gives up while the leader is reading; its task is requeued, and then waited for again."""
    reading, go_on = trio.Event(), trio.Event()

    class Slow(PassingStore):
        """Holds back an answer that tells of the end of `left`."""

        async def read(self, function: Any) -> Any:
            answer: Any = await self.inner.read(function)
            if hasattr(answer, "keys") and left.id in answer and not reading.is_set():
                reading.set()
                await go_on.wait()
            return answer

    client = Client(store)
    led, left = await client.enqueue_all([ship.with_metadata(Order(n)) for n in range(2)])
    slow = Client(Slow(store))
    given_up = trio.CancelScope()

    async def follow() -> None:
        with given_up:
            await slow.wait(left.id)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(slow.wait, led.id)
        await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked(0.01)
        await client.cancel(left.id)
        with trio.fail_after(PATIENCE_SECONDS):
            await reading.wait()
        given_up.cancel()
        await trio.testing.wait_all_tasks_blocked(0.01)
        await client.requeue(left.id)
        go_on.set()
        await trio.testing.wait_all_tasks_blocked(0.01)
        with pytest.raises(TimeoutError):
            await slow.wait(left.id, timeout_seconds=0)
        await client.cancel(led.id)


# Steer.


async def test_cancel_ends_a_waiting_task_and_asks_a_running_one(client: AnyClient) -> None:
    waiting = await ended(client)
    assert (await client.cancel(waiting, reason="a")).unwrap() == CancelAccepted(waiting, TaskState.CANCELLED)
    assert refused(await client.cancel(waiting)) == WrongState(TaskState.CANCELLED)
    running = await ended(client, CLAIMED)
    for reason in ("first", "second"):
        answer = (await client.cancel(running, reason=reason)).unwrap()
        assert answer == CancelAccepted(running, TaskState.RUNNING)
    assert (await record_of(client, running)).cancel_reason == "first"
    stalled = await ended(client, CLAIMED, events.Stalled())
    assert (await client.cancel(stalled)).unwrap().state is TaskState.CANCELLED


async def test_any_text_may_be_a_reason(client: AnyClient) -> None:
    id = await ended(client)
    await client.cancel(id, reason="\ud800\0\x1b[31m'; --")
    assert await client.wait(id) == Crash(CrashKind.CANCELLED, "\\ud800\\0\x1b[31m'; --")


async def test_requeue_goes_on_from_the_last_commit_with_the_same_idempotency_key(client: AnyClient) -> None:
    id = await ended(
        client, CLAIMED, events.Committed(JsonText('{"page":5,"part":null}')), events.GaveUp(JsonText('"x"'))
    )
    before = await record_of(client, id)
    again = (await client.requeue(id)).unwrap()
    assert again == await record_of(client, id)
    assert (again.state, again.epoch, again.error) == (TaskState.PENDING, 2, None)
    assert again.execution_metadata == {"page": 5, "part": None}
    assert again.idempotency_key == before.idempotency_key
    assert refused(await client.requeue(id)) == WrongState(TaskState.PENDING)


async def test_requeue_from_the_start_resets_progress_and_idempotency_key(client: AnyClient) -> None:
    id = await ended(client, CLAIMED, events.Committed(JsonText('{"page":5,"part":null}')), events.Stalled())
    before = await record_of(client, id)
    again = (await client.requeue(id, from_start=True)).unwrap()
    assert again.execution_metadata == {"page": 0, "part": None}
    assert again.idempotency_key != before.idempotency_key


async def test_requeue_is_refused_while_another_task_holds_the_key(client: AnyClient) -> None:
    first = await client.enqueue(ship.with_metadata(Order(1)).with_key("k"))
    await client.cancel(first.id)
    second = await client.enqueue(ship.with_metadata(Order(2)).with_key("k"))
    assert refused(await client.requeue(first.id)) == KeyTaken("ship", "k", second.id)
    await client.cancel(second.id)
    assert (await client.requeue(first.id)).unwrap().state is TaskState.PENDING


async def test_delete_gives_the_last_record_and_is_refused_while_the_task_runs(client: AnyClient) -> None:
    running = await ended(client, CLAIMED)
    assert refused(await client.delete(running)) == WrongState(TaskState.RUNNING)
    await change(client.store, running, events.GaveUp(JsonText('"x"')))
    before = await record_of(client, running)
    assert (await client.delete(running)).unwrap() == before
    assert refused(await client.get(running)) == TaskNotFound(running)
    assert await client.history(running) == []


# Within the caller's own transaction.


EACH_DATABASE = pytest.mark.parametrize("url", ["apsw", "sqlite3", "postgres"], indirect=True)
EACH_SQLITE = pytest.mark.parametrize("url", ["apsw", "sqlite3"], indirect=True)


def own_connection(store: Store) -> Any:
    """A connection of the library that the store uses, to the same database, with transactions begun by hand."""
    if store.url.startswith("postgresql:"):
        return psycopg.connect(store.url, autocommit=True)
    location, _, library = store.url.removeprefix("sqlite:///").partition("?driver=")
    if library == "sqlite3":
        return sqlite3.connect(location, isolation_level=None)
    connection = apsw.Connection(location)
    connection.set_busy_timeout(5_000)
    return connection


@EACH_DATABASE
async def test_rolled_back_means_never_enqueued_and_committed_wakes_an_executor(own_client: AnyClient) -> None:
    store = own_client.store
    connection = own_connection(store)
    try:
        async with open_executor(store, [ship], config=quick(poll_seconds=30)):
            connection.execute("create table mine (n integer)")
            connection.execute("begin")
            connection.execute("insert into mine values (1)")
            lost = own_client.within(connection).enqueue(ship.with_metadata(Order(1)))
            connection.execute("rollback")
            assert refused(await own_client.get(lost.id)) == TaskNotFound(lost.id)
            connection.execute("begin")
            connection.execute("insert into mine values (2)")
            kept, joined = own_client.within(connection).enqueue_all(
                [ship.with_metadata(Order(2)).with_key("k"), ship.with_metadata(Order(3)).with_key("k")]
            )
            connection.execute("commit")
            assert (joined.id, joined.created) == (kept.id, False)
            outcome = await own_client.wait(cast("Any", kept), timeout_seconds=PATIENCE_SECONDS)
            assert outcome == Success.with_result(Part("bolt"))
            assert list(connection.execute("select n from mine")) == [(2,)]
    finally:
        connection.close()


@EACH_DATABASE
async def test_a_refusal_within_a_transaction_leaves_it_as_it_was(own_client: AnyClient) -> None:
    connection = own_connection(own_client.store)
    try:
        connection.execute("begin")
        own = own_client.within(connection)
        first = own.enqueue(ship.with_metadata(Order(1)).with_key("k"))
        wrong = [ship.with_metadata(Order(2)), ship.with_metadata(Order(2)).with_key("k", REJECT)]
        assert refused(own.try_enqueue_all(wrong)) == KeyTaken("ship", "k", first.id)
        assert isinstance(refused(own.try_enqueue(ship.with_metadata(WRONG))), PayloadRefused)
        with pytest.raises(EnqueueRefused):
            own.enqueue(ship.with_metadata(WRONG))
        with pytest.raises(TaskDefinitionError, match=r"enqueue_all\(\) takes a list of requests"):
            own.enqueue_all(cast("Any", ship.with_metadata(Order(2))))
        for verb in (own.cancel, own.proceed):
            with pytest.raises(ConfigurationError, match="`reason` says why, in text, got None"):
                verb(first.id, reason=cast("Any", None))
        connection.execute("commit")
    finally:
        connection.close()
    assert await own_client.count(TaskQuery()) == 1


@EACH_SQLITE
async def test_a_connection_of_another_kind_or_file_or_library_is_refused(
    own_client: AnyClient, tmp_path: Path
) -> None:
    store = own_client.store
    library = store.url.partition("?driver=")[2]
    for wrong in (object(), None, "file.db", trio):
        with pytest.raises(TypeError, match=f"this store uses {library}: pass an open {library}.Connection"):
            own_client.within(wrong)
    other = str(tmp_path / "other.db")
    elsewhere: Any = apsw.Connection(other) if library == "apsw" else sqlite3.connect(other)
    with pytest.raises(ValueError, match="the connection is to "):
        own_client.within(elsewhere)
    elsewhere.close()
    if library == "apsw":
        # Nothing of it is read or written: opening is enough to be told, and harmless.
        foreign: Any = sqlite3.connect(tmp_path / "tasks.db")
        with pytest.raises(MixedSqliteLibraries, match="use apsw for both"):
            own_client.within(foreign)
        foreign.close()
        connection = own_connection(store)
        with pytest.raises(ValueError, match="no open transaction"):
            own_client.within(connection)
        connection.close()


async def test_a_store_in_memory_has_no_transactions_of_the_caller(tmp_path: Path) -> None:
    async with open_store("memory:") as store:
        for client in (Client(store), BlockingClient(store)):
            with pytest.raises(TypeError):
                client.within(apsw.Connection(":memory:"))


async def test_a_store_that_fails_is_an_exception_and_no_outcome(client: AnyClient) -> None:
    class Broken(PassingStore):
        async def read(self, function: Any) -> Any:
            raise OSError("the disk is gone")

        def read_blocking(self, function: Any) -> Any:
            raise OSError("the disk is gone")

    broken = Broken(client.store)
    for each in (Client(broken), Threaded(BlockingClient(broken))):
        with pytest.raises(OSError, match="the disk is gone"):
            await each.wait(NOBODY, timeout_seconds=1)


@pytest.mark.parametrize(
    "verb", ["get", "wait", "history", "explain", "logs", "cancel", "requeue", "delete", "proceed"]
)
@pytest.mark.parametrize("wrong", [5, None, UUID(NOBODY), TaskQuery[Any](), ship])
async def test_a_verb_of_one_task_says_what_it_takes(client: AnyClient, verb: str, wrong: Any) -> None:
    if verb == "proceed" and isinstance(wrong, TaskQuery):
        return  # that verb takes queries
    with pytest.raises(ConfigurationError, match="one task is meant by its id, a text as str"):
        await getattr(client, verb)(wrong)


@pytest.mark.parametrize("wrong", ["x", ship, [ship.with_metadata(Order(1))]])
async def test_what_is_no_request_is_not_enqueued(client: AnyClient, wrong: Any) -> None:
    with pytest.raises(TaskDefinitionError, match=r"request 1 is what task\.with_metadata\(\.\.\.\) gives, got a "):
        await client.enqueue_all([ship.with_metadata(Order(1)), wrong])
    assert await client.count(TaskQuery()) == 0


async def test_one_request_is_no_list_of_requests(client: AnyClient) -> None:
    with pytest.raises(
        TaskDefinitionError, match=r"enqueue_all\(\) takes a list of requests, and enqueue\(\) takes one"
    ):
        await client.enqueue_all(cast("Any", ship.with_metadata(Order(1))))


@pytest.mark.parametrize("verb", ["cancel", "requeue", "delete", "proceed"])
@pytest.mark.parametrize("wrong", [None, 5])
async def test_why_and_who_are_texts(client: AnyClient, verb: str, wrong: Any) -> None:
    handle = await client.enqueue(ship.with_metadata(Order(1)))
    with pytest.raises(ConfigurationError, match="`reason` says why, in text, got"):
        await getattr(client, verb)(handle.id, reason=wrong)
    with pytest.raises(ConfigurationError, match="`by` names who asks, in text of up to 200 characters, got"):
        await getattr(client, verb)(handle.id, by=wrong)
    assert (await record_of(client, handle.id)).state is TaskState.PENDING


@pytest.mark.parametrize(("verb", "argument"), [("proceed", "modify"), ("requeue", "edit")])
async def test_what_changes_a_task_is_a_function(client: AnyClient, verb: str, argument: str) -> None:
    with pytest.raises(ConfigurationError, match=f"`{argument}` is a function, or None to change nothing, got 5"):
        await getattr(client, verb)(NOBODY, **{argument: 5})


@pytest.mark.parametrize("verb", ["search", "count"])
@pytest.mark.parametrize("wrong", ["x", None, NOBODY, ship])
async def test_looking_for_tasks_takes_a_query(client: AnyClient, verb: str, wrong: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"{verb}\(\) takes a TaskQuery, as TaskQuery\(\)\.with_id\(id\), got"
    ):
        await getattr(client, verb)(wrong)


async def test_what_is_asked_of_logs_is_a_count_and_a_line(client: AnyClient) -> None:
    wrong: Any
    for wrong in (-1, "x", True, 1.5):
        with pytest.raises(ConfigurationError, match="limit is how many lines, from 0, or None for all of them, got"):
            await client.logs(NOBODY, limit=wrong)
    for wrong in (5, "x"):
        with pytest.raises(
            ConfigurationError, match=r"after is the last line that logs\(\) gave, or None to begin, got"
        ):
            await client.logs(NOBODY, after=wrong)
    assert await client.logs(NOBODY, limit=0) == []


@pytest.mark.parametrize("client_of", [Client, BlockingClient])
@pytest.mark.parametrize("wrong", ["postgresql://ada:secret@host/db", None])
def test_a_client_is_made_over_a_store(client_of: Any, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"a store is what `async with open_store\(url\)") as raised:
        client_of(wrong)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("wrong", ["x", ship])
def test_a_query_is_made_of_conditions(wrong: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=r"a TaskQuery is made by its methods, as TaskQuery\(\)\.with_id\(id\), got"
    ):
        TaskQuery(wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"page_size": 0}, "a page has 1 to 1000 tasks, got 0"), ({"task": 5}, "the task of a query is one that @task")],
)
def test_a_query_that_is_made_by_hand_is_checked_too(wrong: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        TaskQuery(**wrong)


@pytest.mark.parametrize("wrong", ["ship", None, Order(1)])
def test_a_query_for_a_task_takes_a_task(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"for_task\(\) takes a task that @task has made, got"):
        TaskQuery.for_task(wrong)


@pytest.mark.parametrize("condition", ["created", "due", "finished"])
def test_a_time_of_a_query_does_not_end_before_it_begins(condition: str) -> None:
    early, late = datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 1, 2, tzinfo=UTC)
    with pytest.raises(ConfigurationError, match=rf"{condition}\(\) needs a `before` that is not before its `start`"):
        getattr(TaskQuery(), condition)(start=late, before=early)
    assert getattr(TaskQuery(), condition)(start=early, before=early) != TaskQuery()


@pytest.mark.parametrize("condition", ["id", "name", "state", "queue", "key", "correlation"])
@pytest.mark.parametrize("wrong", [None, ["a", "b"], 5])
def test_a_condition_of_another_kind_is_refused_where_it_is_written(condition: str, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="give each as an argument of its own, got"):
        getattr(TaskQuery(), f"with_{condition}")(wrong)


@pytest.mark.parametrize("wrong", ["2027-01-01", date(2027, 1, 1)])
def test_a_time_of_a_query_is_a_datetime(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="a time is a datetime with a time zone, got"):
        TaskQuery().created(start=wrong)


@pytest.mark.parametrize("wrong", [None, timedelta(days=1)])
async def test_prune_wants_a_retention(client: AnyClient, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"prune\(\) needs a Retention"):
        await client.prune(wrong)
