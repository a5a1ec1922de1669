"""Letting a suspended task go on: by id, by handle and by query, with and without other progress, early and late."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

import pytest
import trio
from attrs import evolve, frozen

from milepost import (
    BlockingClient,
    Client,
    ConfigurationError,
    Execution,
    HistoryKind,
    ModificationFailed,
    SeveralTasksFound,
    Store,
    Success,
    Suspended,
    TaskId,
    TaskNotFound,
    TaskQuery,
    TaskRecord,
    TaskResult,
    TaskState,
    WrongState,
    open_executor,
    task,
)
from milepost.lifecycle import events
from milepost.lifecycle.change import Transition
from milepost.lifecycle.transition import transition
from milepost.payload import JsonText
from milepost.stores.protocol import Session
from tests.client.test_client import EACH_DATABASE, own_connection, refused
from tests.client.threaded import AnyClient, Threaded
from tests.executor.kit import PATIENCE_SECONDS, PassingStore, change, quick, until_state

pytestmark = pytest.mark.anyio

T = TypeVar("T")
NOBODY = TaskId("00000000-0000-7000-8000-000000000000")
LATER = datetime(2999, 1, 1, tzinfo=UTC)
CLAIMED = events.Claimed("ada", "token")


@frozen
class Order:
    id: int


@frozen
class Waiting:
    operation: str = ""
    approved: bool = False


@task
def approve(metadata: Order, waiting: Waiting) -> TaskResult[str, str, Waiting]:
    if not waiting.approved:
        return Suspended(evolve(waiting, operation=f"op-{metadata.id}"))
    return Success.with_result(f"{metadata.id} by {waiting.operation}")


async def parked(client: AnyClient, n: int = 1) -> Any:
    """The handle of a task that waits for its approval."""
    handle = await client.enqueue(approve.with_metadata(Order(n)))
    await change(client.store, handle.id, CLAIMED)
    await change(client.store, handle.id, events.Suspended(JsonText(f'{{"approved":false,"operation":"op-{n}"}}')))
    return handle


async def kinds(client: AnyClient, id: TaskId) -> list[HistoryKind]:
    return [line.kind for line in await client.history(id)]


async def record_of(client: AnyClient, id: TaskId) -> TaskRecord:
    return (await client.get(id)).unwrap()


def approved(waiting: Waiting) -> Waiting:
    return evolve(waiting, approved=True)


def boom(waiting: Any) -> Any:
    raise ValueError("no \0 such\ud800 order")


# Which task, and what becomes of it.


async def test_a_waiting_task_is_found_by_a_value_inside_its_progress_and_ends_with_what_was_modified(
    store: Store,
) -> None:
    client = Client(store)
    async with open_executor(store, [approve], config=quick()):
        handles = await client.enqueue_all([approve.with_metadata(Order(n)) for n in range(3)])
        for handle in handles:
            await until_state(store, handle.id, TaskState.SUSPENDED)
        query = TaskQuery.for_task(approve).with_state(TaskState.SUSPENDED).with_execution_metadata(operation="op-1")
        record = (await client.proceed(query, modify=approved)).unwrap()
        assert record.id == handles[1].id
        assert await handles[1].wait(PATIENCE_SECONDS) == Success("1 by op-1")
    assert (await record_of(client, handles[0].id)).state is TaskState.SUSPENDED


async def test_a_proceed_with_a_modification_is_a_commit(client: AnyClient) -> None:
    handle = await parked(client)
    before = await record_of(client, handle.id)
    record = (await client.proceed(handle, modify=approved)).unwrap()
    assert record == await record_of(client, handle.id)
    assert (record.state, record.execution_metadata) == (
        TaskState.PENDING,
        {"approved": True, "operation": "op-1"},
    )
    assert (record.sequence, record.idempotency_key) == (before.sequence + 1, f"{handle.id}:{before.sequence + 1}")
    assert (await kinds(client, handle.id))[-1] is HistoryKind.PROCEEDED


async def test_a_proceed_without_one_keeps_progress_and_idempotency_key(client: AnyClient) -> None:
    handle = await parked(client)
    before = await record_of(client, handle.id)
    record = (await client.proceed(handle.id)).unwrap()
    assert (record.state, record.execution_metadata_json) == (TaskState.PENDING, before.execution_metadata_json)
    assert record.idempotency_key == before.idempotency_key


async def test_a_bare_id_and_a_query_without_a_task_speak_json(client: AnyClient) -> None:
    first, second = await parked(client, 1), await parked(client, 2)
    by_id = (await client.proceed(first.id, modify=lambda x: {**x, "approved": True})).unwrap()
    assert by_id.execution_metadata == {"approved": True, "operation": "op-1"}
    wanted: TaskQuery[Any] = TaskQuery().with_execution_metadata(operation="op-2")
    by_query = (await client.proceed(wanted, modify=lambda x: {**x, "approved": True})).unwrap()
    assert (by_query.id, by_query.execution_metadata) == (second.id, {"approved": True, "operation": "op-2"})


async def test_a_task_goes_on_at_the_time_that_the_proceed_says_past_its_own_wake_up(client: AnyClient) -> None:
    handle = await parked(client)
    record = (await client.proceed(handle.id, at=LATER)).unwrap()
    assert (record.state, record.due_at) == (TaskState.SUSPENDED, LATER)
    again = (await client.proceed(handle.id)).unwrap()
    assert again.state is TaskState.PENDING
    assert again.due_at is not None
    assert again.due_at < LATER
    past = await parked(client, 2)
    assert (await client.proceed(past.id, at=datetime(2000, 1, 1, tzinfo=UTC))).unwrap().state is TaskState.PENDING


@pytest.mark.parametrize("modify", [None, approved])
async def test_history_keeps_who_let_a_task_go_on_and_why(client: AnyClient, modify: Any) -> None:
    handle = await parked(client)
    (await client.proceed(handle, modify=modify, reason="paid\0", by="ada")).unwrap()
    line = (await client.history(handle.id))[-1]
    assert (line.kind, line.reason, line.by) == (HistoryKind.PROCEEDED, "paid\\0", "ada")
    (await client.proceed(handle.id, at=LATER, reason="later", by="bob")).unwrap()
    line = (await client.history(handle.id))[-1]
    assert (line.kind, line.reason, line.by) == (HistoryKind.PROCEED_KEPT, f"at {LATER.isoformat()}: later", "bob")
    with pytest.raises(ConfigurationError, match="`by` names who asks"):
        await client.proceed(handle.id, by="x" * 1_000)


# Refusals.


async def test_a_task_that_is_not_there_is_not_found(client: AnyClient) -> None:
    assert refused(await client.proceed(NOBODY)) == TaskNotFound(NOBODY)
    assert refused(await client.proceed(NOBODY, modify=approved)) == TaskNotFound(NOBODY)
    assert refused(await client.proceed(TaskId("\0\ud800"))) == TaskNotFound(TaskId("\\0\\ud800"))


async def test_a_query_must_match_exactly_one_live_task(client: AnyClient) -> None:
    everything = TaskQuery.for_task(approve)
    nothing = refused(await client.proceed(everything))
    assert (nothing, str(nothing)) == (TaskNotFound(), "no live task matches the query")
    ended = await parked(client, 1)
    await client.cancel(ended.id)
    assert refused(await client.proceed(everything)) == TaskNotFound()
    assert refused(await client.proceed(everything.with_state(TaskState.CANCELLED))) == TaskNotFound()
    only = await parked(client, 2)
    assert (await client.proceed(everything.with_state(TaskState.SUSPENDED), modify=approved)).unwrap().id == only.id
    others = [await parked(client, n) for n in range(3, 15)]
    several = refused(await client.proceed(everything.with_state(TaskState.SUSPENDED, TaskState.COMPLETED)))
    assert several == SeveralTasksFound(tuple(other.id for other in others[:10]))
    # Where a page begins and in which order is no part of the question.
    paged = everything.with_state(TaskState.SUSPENDED).newest_first().after_cursor(others[3].id).with_page_size(1)
    assert refused(await client.proceed(paged)) == several


@pytest.mark.parametrize("modify", [None, approved])
@pytest.mark.parametrize("end", [events.Succeeded(JsonText('"ok"')), events.GaveUp(JsonText('"no"')), events.Stalled()])
async def test_an_ended_task_and_a_quarantined_one_are_in_the_wrong_state(
    client: AnyClient, end: events.Event, modify: Any
) -> None:
    handle: Any = await client.enqueue(approve.with_metadata(Order(1)))
    await change(client.store, handle.id, CLAIMED)
    ended = await change(client.store, handle.id, end)
    assert refused(await client.proceed(handle, modify=modify)) == WrongState(ended.state)
    assert await record_of(client, handle.id) == ended


@pytest.mark.parametrize("steps", [(), (CLAIMED,), (CLAIMED, events.Interrupted())])
async def test_what_is_not_suspended_is_not_modified_and_its_modification_not_called(
    client: AnyClient, steps: tuple[events.Event, ...]
) -> None:
    handle: Any = await client.enqueue(approve.with_metadata(Order(1)))
    for step in steps:
        await change(client.store, handle.id, step)
    before = await record_of(client, handle.id)
    for target in (handle, handle.id, TaskQuery.for_task(approve)):
        assert refused(await client.proceed(target, modify=boom)) == WrongState(before.state)
    assert await record_of(client, handle.id) == before


async def test_a_modification_that_raises_or_makes_what_cannot_be_stored_writes_nothing(client: AnyClient) -> None:
    handle = await parked(client)
    before = await record_of(client, handle.id)
    wrong: dict[Callable[[Any], Any], str] = {
        boom: "ValueError: no \\0 such\\ud800 order",
        lambda x: evolve(x, operation="\0"): "what it made cannot be stored: $.operation: text with a NUL character",
        lambda x: Order(1): "what it made cannot be stored: $: expected Waiting, got Order",
        lambda x: None: "what it made cannot be stored: $: expected Waiting, got None",
    }
    for modify, reason in wrong.items():
        failed = refused(await client.proceed(handle, modify=modify))
        assert isinstance(failed, ModificationFailed)
        assert failed.reason.startswith(reason)
    plain = refused(await client.proceed(handle.id, modify=lambda x: {"at": datetime.now(UTC)}))
    assert plain == ModificationFailed("what it made cannot be stored: $.at: a datetime is not a JSON value")
    assert await record_of(client, handle.id) == before


async def test_a_row_that_the_program_cannot_read_is_not_modified(client: AnyClient) -> None:
    @task(name="approve")
    def other(metadata: Order, waiting: int) -> TaskResult[str, str]:
        return Success.with_result("")

    @task
    def stranger(metadata: Order, waiting: Waiting) -> TaskResult[str, str]:
        return Success.with_result("")

    handle = await parked(client)
    unread = refused(await client.proceed(TaskQuery.for_task(other), modify=lambda n: n + 1))
    assert str(unread).startswith("the modification failed: the execution metadata cannot be decoded: $: ")
    named = TaskQuery.for_task(stranger).with_name("approve")
    assert refused(await client.proceed(named, modify=approved)) == ModificationFailed(
        "the task is a 'approve', not a 'stranger'"
    )
    assert (await record_of(client, handle.id)).state is TaskState.SUSPENDED


async def test_a_naive_time_is_a_programming_error(client: AnyClient) -> None:
    for target in (NOBODY, TaskQuery.for_task(approve)):
        with pytest.raises(ConfigurationError, match="has no time zone"):
            await client.proceed(target, at=datetime(2030, 1, 1))


async def test_a_row_of_an_older_version_is_modified_and_stored_as_the_newer_one(client: AnyClient) -> None:
    @frozen
    class Approvals:
        operation: str
        names: tuple[str, ...] = ()

    def upgrade(metadata: Any, x: Any) -> tuple[Any, Any]:
        return {"id": str(metadata["id"])}, {"operation": x["operation"], "names": []}

    @frozen
    class TextOrder:
        id: str

    @task(name="approve", version=2, upgrades={1: upgrade})
    def newer(metadata: TextOrder, approvals: Approvals) -> TaskResult[str, str, Approvals]:
        return Success.with_result(f"{metadata.id}: {approvals.names}")

    handle = await parked(client)
    query = TaskQuery.for_task(newer).with_execution_metadata(operation="op-1")
    record = (await client.proceed(query, modify=lambda x: evolve(x, names=("ada",)))).unwrap()
    assert (record.version, record.metadata) == (2, {"id": "1"})
    assert record.execution_metadata == {"operation": "op-1", "names": ["ada"]}
    assert await record_of(client, handle.id) == record
    async with open_executor(client.store, [newer], config=quick()):
        outcome = await client.wait(handle.id, timeout_seconds=PATIENCE_SECONDS)
        assert outcome == Success("1: ('ada',)")
    old = TaskQuery.for_task(approve)
    await parked(client, 2)
    second = TaskQuery.for_task(newer).with_execution_metadata(operation="op-2")
    assert (await client.proceed(second, at=LATER, modify=lambda x: x)).unwrap().state is TaskState.SUSPENDED
    unread = refused(await client.proceed(old, modify=approved))
    assert "this program knows 'approve' up to 1" in str(unread)


# Early proceeds.


@pytest.mark.parametrize(
    "suspended",
    [
        events.Suspended(None),
        events.Suspended(None, timedelta(days=1)),
        events.Suspended(None, LATER),
        events.Suspended(None, at_once=True),
    ],
)
async def test_a_proceed_that_comes_early_is_kept_and_ends_the_next_suspension_whatever_its_wake_up(
    client: AnyClient, suspended: events.Event
) -> None:
    handle = await client.enqueue(approve.with_metadata(Order(1)))
    await change(client.store, handle.id, CLAIMED)
    kept = (await client.proceed(handle.id)).unwrap()
    assert (kept.state, kept.early_proceed_at is None) == (TaskState.RUNNING, False)
    after = await change(client.store, handle.id, suspended)
    assert (after.state, after.early_proceed_at) == (TaskState.PENDING, None)
    await change(client.store, handle.id, events.Claimed("bob", "other"))
    assert (await change(client.store, handle.id, events.Suspended(None))).state is TaskState.SUSPENDED
    assert (await kinds(client, handle.id))[1:] == [
        HistoryKind.CLAIMED,
        HistoryKind.PROCEED_KEPT,
        HistoryKind.SUSPENDED,
        HistoryKind.PROCEEDED,
        HistoryKind.CLAIMED,
        HistoryKind.SUSPENDED,
    ]


async def test_at_most_one_proceed_is_kept_the_earliest_with_its_time(client: AnyClient) -> None:
    handle = await client.enqueue(approve.with_metadata(Order(1)))
    assert (await client.proceed(handle.id, at=LATER)).unwrap().early_proceed_at == LATER
    sooner = LATER - timedelta(days=1)
    assert (await client.proceed(handle.id, at=sooner)).unwrap().early_proceed_at == sooner
    assert (await client.proceed(handle.id, at=LATER)).unwrap().early_proceed_at == sooner
    await change(client.store, handle.id, CLAIMED)
    after = await change(client.store, handle.id, events.Suspended(None, timedelta(0)))
    assert (after.state, after.due_at, after.early_proceed_at) == (TaskState.SUSPENDED, sooner, None)
    assert (await kinds(client, handle.id)).count(HistoryKind.PROCEED_KEPT) == 2


@pytest.mark.parametrize("event", [events.Interrupted(), events.Failed(JsonText('"e"'), retry_after=timedelta(0))])
async def test_a_kept_proceed_outlives_a_stop_and_a_retry(client: AnyClient, event: events.Event) -> None:
    handle = await client.enqueue(approve.with_metadata(Order(1)))
    await client.proceed(handle.id)
    for step in (CLAIMED, event, CLAIMED):
        await change(client.store, handle.id, step)
    assert (await change(client.store, handle.id, events.Suspended(None))).state is TaskState.PENDING


@pytest.mark.parametrize("end", [events.Succeeded(JsonText('"ok"')), events.CancelRequested("enough")])
async def test_a_kept_proceed_is_dropped_when_the_task_ends_first_and_its_history_says_so(
    client: AnyClient, end: events.Event
) -> None:
    handle = await client.enqueue(approve.with_metadata(Order(1)))
    await client.proceed(handle.id)
    if isinstance(end, events.Succeeded):
        await change(client.store, handle.id, CLAIMED)
    assert (await change(client.store, handle.id, end)).early_proceed_at is None
    line = (await client.history(handle.id))[-1]
    assert (line.kind, line.reason) == (HistoryKind.PROCEED_DROPPED, "the task did not suspend any more")


# Races: nothing is lost, whichever comes first.


@task
async def gated(metadata: Order, waiting: Waiting, execution: Execution[Waiting]) -> TaskResult[str, str, Waiting]:
    if waiting.approved:
        return Success.with_result("went on")
    reached, let_go = GATES[metadata.id]
    reached.set()
    await let_go.wait()
    return Suspended(evolve(waiting, approved=True))


GATES: dict[int, tuple[trio.Event, trio.Event]] = {}


@pytest.fixture
async def gate() -> AsyncGenerator[tuple[trio.Event, trio.Event]]:
    """Set when the task is in the middle of its run, and what then lets it suspend."""
    GATES[1] = trio.Event(), trio.Event()
    yield GATES[1]
    del GATES[1]


async def test_a_proceed_that_is_kept_while_the_task_suspends_is_not_lost(
    client: AnyClient, gate: tuple[trio.Event, trio.Event]
) -> None:
    # What the run writes is decided on the row as it was claimed: that write fails, and is decided again.
    async with open_executor(client.store, [gated], config=quick()):
        handle = await client.enqueue(gated.with_metadata(Order(1)))
        await gate[0].wait()
        assert (await client.proceed(handle.id)).unwrap().state is TaskState.RUNNING
        gate[1].set()
        assert await client.wait(handle.id, timeout_seconds=PATIENCE_SECONDS) == Success("went on")
    assert (await record_of(client, handle.id)).early_proceed_at is None


async def test_a_proceed_after_the_suspension_ends_it(client: AnyClient, gate: tuple[trio.Event, trio.Event]) -> None:
    async with open_executor(client.store, [gated], config=quick()):
        handle = await client.enqueue(gated.with_metadata(Order(1)))
        gate[1].set()
        await until_state(client.store, handle.id, TaskState.SUSPENDED)
        assert (await client.proceed(handle.id)).unwrap().state is TaskState.PENDING
        assert await client.wait(handle.id, timeout_seconds=PATIENCE_SECONDS) == Success("went on")


class Between(PassingStore):
    """Does something to the store right before each call that writes, as somebody else would."""

    def __init__(self, inner: Store, steps: list[Callable[[Session], object]]) -> None:
        super().__init__(inner)
        self.steps = steps

    async def transact(self, function: Callable[[Session], T], **options: Any) -> T:
        if self.steps:
            await super().transact(self.steps.pop(0))
        return await super().transact(function, **options)

    def transact_blocking(self, function: Callable[[Session], T], **options: Any) -> T:
        if self.steps:
            super().transact_blocking(self.steps.pop(0))
        return super().transact_blocking(function, **options)


def _over(client: AnyClient, *steps: Callable[[Session], object]) -> AnyClient:
    between = cast("Store", Between(client.store, list(steps)))
    return Client(between) if isinstance(client, Client) else Threaded(BlockingClient(between))


def _writes(id: TaskId, *stages: events.Event) -> Callable[[Session], object]:
    def step(session: Session) -> None:
        for event in stages:
            (record,) = session.get([id])
            decided = transition(record, event, now=session.now())
            assert isinstance(decided, Transition)
            assert session.write([decided]) == [True]

    return step


async def test_a_task_that_moved_on_between_its_finding_and_its_writing_is_modified_as_it_is_then(
    client: AnyClient,
) -> None:
    handle = await parked(client)
    seen: list[Waiting] = []

    def note(waiting: Waiting) -> Waiting:
        seen.append(waiting)
        return approved(waiting)

    other = events.Proceeded(JsonText('{"approved":false,"operation":"changed"}'), LATER)
    record = (await _over(client, _writes(handle.id, other)).proceed(handle, modify=note)).unwrap()
    assert [waiting.operation for waiting in seen] == ["op-1", "changed"]
    assert record.execution_metadata == {"approved": True, "operation": "changed"}


async def test_a_task_that_ceased_to_match_before_it_was_written_is_left_alone(client: AnyClient) -> None:
    handle = await parked(client)
    query = TaskQuery.for_task(approve).with_execution_metadata(operation="op-1")
    other = events.Proceeded(JsonText('{"approved":false,"operation":"changed"}'), LATER)
    assert refused(await _over(client, _writes(handle.id, other)).proceed(query)) == TaskNotFound()
    assert (await record_of(client, handle.id)).due_at == LATER


async def test_a_task_that_was_claimed_or_deleted_meanwhile_is_refused_as_that(client: AnyClient) -> None:
    handle = await parked(client)
    step = _writes(handle.id, events.Proceeded(), CLAIMED)
    assert refused(await _over(client, step).proceed(handle, modify=approved)) == WrongState(TaskState.RUNNING)
    gone = await parked(client, 2)
    answer = await _over(client, lambda session: session.delete([gone.id])).proceed(gone, modify=approved)
    assert refused(answer) == TaskNotFound(gone.id)


async def test_a_task_that_changes_all_the_time_is_given_up(client: AnyClient) -> None:
    handle = await parked(client)
    stirred = _writes(handle.id, events.Proceeded(at=LATER))
    answer = await _over(client, *[stirred] * 100).proceed(handle, modify=approved)
    assert refused(answer) == WrongState(TaskState.SUSPENDED)


# In the caller's own transaction.


@EACH_DATABASE
async def test_a_proceed_and_a_cancel_happen_with_the_callers_transaction_or_not_at_all(own_client: AnyClient) -> None:
    first, second, third = [await parked(own_client, n) for n in (1, 2, 3)]
    before = [await record_of(own_client, each.id) for each in (first, second, third)]
    connection = own_connection(own_client.store)
    query = TaskQuery.for_task(approve).with_execution_metadata(operation="op-1")
    try:
        for ending in ("rollback", "commit"):
            connection.execute("begin")
            own = own_client.within(connection)
            assert own.proceed(query, modify=approved).unwrap().id == first.id
            assert own.proceed(second.id, at=LATER).unwrap().due_at == LATER
            assert own.cancel(third, reason="enough").unwrap().state is TaskState.CANCELLED
            assert refused(own.proceed(third)) == WrongState(TaskState.CANCELLED)
            assert refused(own.cancel(NOBODY)) == TaskNotFound(NOBODY)
            failed = refused(own.proceed(second, modify=boom))
            assert isinstance(failed, ModificationFailed)
            connection.execute(ending)
            after = [await record_of(own_client, each.id) for each in (first, second, third)]
            if ending == "rollback":
                assert after == before
                continue
            assert [record.state for record in after] == [TaskState.PENDING, TaskState.SUSPENDED, TaskState.CANCELLED]
            assert after[0].execution_metadata == {"approved": True, "operation": "op-1"}
    finally:
        connection.close()


@pytest.mark.parametrize("url", ["apsw", "postgres"], indirect=True)
async def test_a_committed_proceed_wakes_an_executor_that_sleeps(own_client: AnyClient) -> None:
    handle = await parked(own_client)
    connection = own_connection(own_client.store)
    try:
        async with open_executor(own_client.store, [approve], config=quick(poll_seconds=30)):
            connection.execute("begin")
            own_client.within(connection).proceed(handle, modify=approved).unwrap()
            connection.execute("commit")
            outcome = await own_client.wait(handle.id, timeout_seconds=PATIENCE_SECONDS)
            assert outcome == Success("1 by op-1")
    finally:
        connection.close()
