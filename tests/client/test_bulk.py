"""Verbs of many tasks, and edits of requests: what is changed, what is left alone, and who is told to have asked."""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar, Unpack, cast, final

import attrs
import pytest
import trio
from returns.result import Failure as Refused

from milepost import (
    BlockingClient,
    BulkSummary,
    Client,
    ConfigurationError,
    HistoryKind,
    KeyTaken,
    RateLimit,
    Store,
    StoreUnreachable,
    Success,
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
from milepost.lifecycle.refusals import ModificationFailed
from milepost.lifecycle.transition import transition
from milepost.payload import JsonText
from milepost.stores.protocol import Session, TransactOptions
from tests.client.threaded import AnyClient, Color, Order, Part, Progress, bill, ship
from tests.executor.kit import PassingStore, change, quick, until_state

pytestmark = pytest.mark.anyio

T = TypeVar("T")
SHIPS = TaskQuery.for_task(ship)
CLAIMED = events.Claimed("ada", "token")
FAILED = (CLAIMED, events.Failed(JsonText('"no"')))
COMPLETED = (CLAIMED, events.Succeeded(JsonText('{"sku":"bolt","color":"red"}')))
QUARANTINED = (CLAIMED, events.Stalled())


async def made(client: AnyClient, *steps: events.Event, key: str | None = None, id: int = 1) -> TaskId:
    """A task to which all this has happened."""
    request = ship.with_metadata(Order(id)).with_execution_metadata(Progress(3))
    made = (await client.enqueue(request if key is None else request.with_key(key))).id
    for step in steps:
        await change(client.store, made, step)
    return made


async def record_of(client: AnyClient, id: TaskId) -> TaskRecord:
    return (await client.get(id)).unwrap()


async def states_of(client: AnyClient, *ids: TaskId) -> list[TaskState]:
    return [(await record_of(client, id)).state for id in ids]


# What is changed.


async def test_all_that_match_are_cancelled_and_the_others_are_counted_by_why_not(client: AnyClient) -> None:
    waiting, suspended = await made(client), await made(client, CLAIMED, events.Suspended(None))
    running, ended = await made(client, CLAIMED), await made(client, *COMPLETED)
    other = (await client.enqueue(bill.with_metadata(Order(1)))).id
    assert await client.count(SHIPS) == 4
    summary = await client.cancel_all(SHIPS, reason="recalled", by="ada")
    assert summary == BulkSummary(4, 3, {"not possible while the task is completed": 1})
    wanted = [TaskState.CANCELLED, TaskState.CANCELLED, TaskState.RUNNING, TaskState.COMPLETED, TaskState.PENDING]
    assert await states_of(client, waiting, suspended, running, ended, other) == wanted
    assert (await record_of(client, running)).cancel_reason == "recalled"


async def test_history_says_of_each_task_who_asked_and_why(client: AnyClient) -> None:
    first, second = await made(client), await made(client, *FAILED)
    await client.cancel_all(SHIPS.with_id(first), reason="recalled", by="ada")
    await client.requeue_all(SHIPS.with_id(first, second), from_start=True, reason="try again", by="bob")
    for id in (first, second):
        line = (await client.history(id))[-1]
        assert (line.kind, line.reason, line.by) == (HistoryKind.REQUEUED, "from the start; try again", "bob")
    cancelled = (await client.history(first))[-2]
    assert (cancelled.kind, cancelled.reason, cancelled.by) == (HistoryKind.CANCELLED, "recalled", "ada")


async def test_the_verbs_of_one_task_say_who_asked_as_well(client: AnyClient) -> None:
    id = await made(client)
    await client.cancel(id, reason="enough", by="ada")
    await client.requeue(id, reason="after all", by="bob\0")
    lines = (await client.history(id))[1:]
    assert [(line.reason, line.by) for line in lines] == [("enough", "ada"), ("after all", "bob\\0")]


async def test_dead_letters_are_requeued_together(client: AnyClient) -> None:
    dead = [await made(client, *FAILED), await made(client, *QUARANTINED)]
    fine = await made(client, *COMPLETED)
    summary = await client.requeue_all(TaskQuery().dead_letters())
    assert summary == BulkSummary(2, 2, {})
    assert await states_of(client, *dead, fine) == [TaskState.PENDING, TaskState.PENDING, TaskState.COMPLETED]
    assert (await record_of(client, dead[0])).execution_metadata == {"page": 3, "part": None}


async def test_of_ended_tasks_that_share_a_key_one_is_requeued(client: AnyClient) -> None:
    ended = [await made(client, *FAILED, key="k") for _ in range(3)]
    others = [await made(client, *FAILED, key="taken")]
    holder = await made(client, key="taken")
    summary = await client.requeue_all(SHIPS.with_state(TaskState.FAILED))
    assert summary == BulkSummary(4, 1, {"another live task holds the key": 3})
    states = await states_of(client, *ended, *others, holder)
    assert states == [TaskState.PENDING, TaskState.FAILED, TaskState.FAILED, TaskState.FAILED, TaskState.PENDING]


async def test_all_that_match_are_deleted_but_for_running_ones_and_the_log_says_who_asked(
    client: AnyClient, caplog: pytest.LogCaptureFixture
) -> None:
    gone = [await made(client, *COMPLETED), await made(client)]
    running = await made(client, CLAIMED)
    with caplog.at_level(logging.INFO, "milepost.client"):
        summary = await client.delete_all(SHIPS, reason="cleaning up", by="ada")
    assert summary == BulkSummary(3, 2, {"not possible while the task is running": 1})
    assert [isinstance(await client.get(id), Refused) for id in (*gone, running)] == [True, True, False]
    assert await client.history(gone[0]) == []
    assert "deleted 2 tasks, asked by ada, because: cleaning up" in caplog.text


def turned(progress: Progress) -> Progress:
    return attrs.evolve(progress, page=progress.page + 1)


async def test_all_that_match_proceed_each_with_its_own_next_progress(client: AnyClient) -> None:
    parked = [await made(client, CLAIMED, events.Suspended(JsonText(f'{{"page":{n}}}'))) for n in (1, 5)]
    ended = await made(client, *COMPLETED)
    summary = await client.proceed_all(SHIPS, modify=turned, reason="paid", by="ada")
    assert summary == BulkSummary(3, 2, {"not possible while the task is completed": 1})
    assert await states_of(client, *parked, ended) == [TaskState.PENDING, TaskState.PENDING, TaskState.COMPLETED]
    pages = [(await record_of(client, id)).execution_metadata for id in parked]
    assert pages == [{"page": 2, "part": None}, {"page": 6, "part": None}]
    line = (await client.history(parked[0]))[-1]
    assert (line.kind, line.by, "paid" in line.reason) == (HistoryKind.PROCEEDED, "ada", True)


# What is meant.


@pytest.mark.parametrize("verb", ["cancel_all", "requeue_all", "delete_all", "proceed_all"])
async def test_a_query_without_a_condition_must_be_meant(client: AnyClient, verb: str) -> None:
    ids = [await made(client, CLAIMED, events.Suspended(None)), await made(client, *FAILED)]
    ask: Any = getattr(client, verb)
    named = {"reason": "enough"} if verb == "cancel_all" else {}
    for query in (TaskQuery(), TaskQuery().newest_first().after_cursor(ids[0]).with_page_size(5)):
        with pytest.raises(ConfigurationError, match=r"every task in the store; add a condition.*everything=True"):
            await ask(query, **named)
    assert await states_of(client, *ids) == [TaskState.SUSPENDED, TaskState.FAILED]
    assert (await ask(TaskQuery(), **named, everything=True)).matched == 2


@pytest.mark.parametrize("verb", ["cancel_all", "requeue_all", "delete_all", "proceed_all"])
async def test_a_verb_of_many_tasks_takes_no_id(client: AnyClient, verb: str) -> None:
    with pytest.raises(ConfigurationError, match="a verb of many tasks takes a TaskQuery"):
        await getattr(client, verb)("an id", reason="no reason", by="nobody")


@pytest.mark.parametrize("verb", ["cancel_all", "requeue_all", "delete_all", "proceed_all"])
@pytest.mark.parametrize("wrong", [None, 5])
async def test_why_and_who_are_texts_and_checked_before_anything_is_done(
    client: AnyClient, verb: str, wrong: Any
) -> None:
    id = await made(client, *FAILED)
    with pytest.raises(ConfigurationError, match="`reason` says why, in text, got"):
        await getattr(client, verb)(SHIPS, reason=wrong)
    with pytest.raises(ConfigurationError, match="`by` names who asks"):
        await getattr(client, verb)(SHIPS, reason="", by=wrong)
    assert await states_of(client, id) == [TaskState.FAILED]


@pytest.mark.parametrize(("verb", "argument"), [("proceed_all", "modify"), ("requeue_all", "edit")])
async def test_what_changes_tasks_is_a_function_even_where_no_task_matches(
    client: AnyClient, verb: str, argument: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"`{argument}` is a function, or None to change nothing, got 5"):
        await getattr(client, verb)(SHIPS, **{argument: 5})


async def test_everything_is_meant_by_true_alone(client: AnyClient) -> None:
    with pytest.raises(ConfigurationError, match="every task in the store"):
        await client.cancel_all(TaskQuery(), reason="none", everything=cast("Any", "no"))


async def test_who_asks_is_a_name_and_not_a_book(client: AnyClient) -> None:
    id = await made(client)
    with pytest.raises(ConfigurationError, match="up to 200 characters"):
        await client.cancel(id, by="x" * 201)
    with pytest.raises(ConfigurationError, match="up to 200 characters"):
        await client.cancel_all(SHIPS, reason="", by="x" * 201)
    assert await states_of(client, id) == [TaskState.PENDING]


async def test_a_query_that_matches_nothing_changes_nothing(client: AnyClient) -> None:
    await made(client)
    assert await client.cancel_all(SHIPS.with_queue("nowhere"), reason="x") == BulkSummary(0, 0, {})


# What matched when it began.


@final
class Busy(PassingStore):
    """A store on which something happens right after the n-th transaction of a kind."""

    def __init__(self, inner: Store, *, reads: int = 0, writes: int = 0, then: Callable[[], Awaitable[None]]) -> None:
        super().__init__(inner)
        self.left = {"read": reads, "write": writes}
        self.then = then

    async def transact(self, function: Callable[[Session], T], **options: Unpack[TransactOptions]) -> T:
        value = await super().transact(function, **options)
        await self._happen("write")
        return value

    async def read(self, function: Callable[[Session], T]) -> T:
        value = await super().read(function)
        await self._happen("read")
        return value

    async def _happen(self, kind: str) -> None:
        self.left[kind] -= 1
        if self.left[kind] == 0:
            await self.then()


async def many(store: Store, count: int) -> list[TaskId]:
    handles = await Client(store).enqueue_all([ship.with_metadata(Order(n)) for n in range(count)])
    return [handle.id for handle in handles]


async def test_what_still_matches_after_its_change_is_changed_once(store: Store) -> None:
    ids = await many(store, 250)
    client = Client(store)
    summary = await client.cancel_all(SHIPS, reason="recalled")
    assert summary == BulkSummary(250, 250, {})
    assert await client.requeue_all(SHIPS) == BulkSummary(250, 250, {})
    assert {(await record_of(client, id)).epoch for id in ids} == {2}


async def test_what_comes_while_it_goes_is_left_alone(store: Store) -> None:
    await many(store, 150)
    late: list[TaskId] = []

    async def come() -> None:
        late.extend(await many(store, 5))

    busy = Busy(store, writes=1, then=come)
    assert await Client(busy).cancel_all(SHIPS, reason="recalled") == BulkSummary(150, 150, {})
    assert set(await states_of(Client(store), *late)) == {TaskState.PENDING}


async def test_what_does_not_match_any_more_when_its_batch_comes_is_left_alone(store: Store) -> None:
    ids = await many(store, 120)
    client = Client(store)

    async def go_on() -> None:
        await change(store, ids[110], CLAIMED)
        await client.delete(ids[111])

    busy = Busy(store, writes=1, then=go_on)
    query = SHIPS.with_state(TaskState.PENDING)
    summary = await Client(busy).cancel_all(query, reason="recalled")
    assert summary == BulkSummary(120, 118, {"does not match any more": 2})
    assert (await record_of(client, ids[110])).cancel_requested_at is None


async def test_what_changes_between_its_reading_and_its_writing_is_read_again(store: Store) -> None:
    client = Client(store)
    ids = [await made(client, CLAIMED) for _ in range(3)]

    async def commit() -> None:
        await change(store, ids[0], events.Committed(JsonText("{}")))
        await change(store, ids[1], events.Succeeded(JsonText("{}")))
        await change(store, ids[2], events.Interrupted())
        await client.delete(ids[2])

    busy = Busy(store, reads=2, then=commit)
    summary = await Client(busy).cancel_all(SHIPS, reason="recalled")
    assert summary == BulkSummary(3, 1, {"not possible while the task is completed": 1, "deleted meanwhile": 1})
    assert (await record_of(client, ids[0])).cancel_reason == "recalled"


async def test_a_modification_is_of_what_the_task_is_when_it_is_written(store: Store) -> None:
    id = await made(Client(store), CLAIMED, events.Suspended(JsonText('{"page":1}')))

    async def go_round() -> None:
        for step in (events.Proceeded(), CLAIMED, events.Suspended(JsonText('{"page":7}'))):
            await change(store, id, step)

    busy = Busy(store, reads=2, then=go_round)
    assert (await Client(busy).proceed_all(SHIPS, modify=turned)).changed == 1
    assert (await record_of(Client(store), id)).execution_metadata == {"page": 8, "part": None}


async def test_what_was_done_before_a_fault_stays_and_the_rest_is_done_when_asked_again(store: Store) -> None:
    await many(store, 250)

    async def fail() -> None:
        raise StoreUnreachable("the cable was pulled")

    with pytest.raises(StoreUnreachable):
        await Client(Busy(store, reads=3, then=fail)).delete_all(SHIPS)
    client = Client(store)
    assert await client.count(SHIPS) == 150
    assert await client.delete_all(SHIPS) == BulkSummary(150, 150, {})


@pytest.mark.slow
async def test_two_that_cancel_the_same_tasks_change_each_of_them_once(store: Store) -> None:
    ids = await many(store, 300)
    barrier = threading.Barrier(2)
    summaries: list[BulkSummary] = []

    def cancel(name: str) -> None:
        barrier.wait()
        summaries.append(BlockingClient(store).cancel_all(SHIPS.live(), reason="recalled", by=name))

    async with trio.open_nursery() as nursery:
        for name in ("ada", "bob"):
            nursery.start_soon(trio.to_thread.run_sync, cancel, name)
    assert sum(summary.changed for summary in summaries) == 300
    assert all(summary.changed + sum(summary.refused.values()) == summary.matched for summary in summaries)
    for id in ids:
        kinds = [event.kind for event in await Client(store).history(id)]
        assert kinds == [HistoryKind.ENQUEUED, HistoryKind.CANCELLED]


@pytest.mark.slow
async def test_of_two_that_requeue_and_delete_the_same_tasks_each_task_has_one_fate(store: Store) -> None:
    client = Client(store)
    ids = await many(store, 200)
    await client.cancel_all(SHIPS, reason="recalled")
    barrier = threading.Barrier(2)
    summaries: dict[str, BulkSummary] = {}
    ended = SHIPS.with_state(TaskState.CANCELLED)

    def requeue() -> None:
        barrier.wait()
        summaries["requeue"] = BlockingClient(store).requeue_all(ended)

    def delete() -> None:
        barrier.wait()
        summaries["delete"] = BlockingClient(store).delete_all(ended)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, requeue)
        nursery.start_soon(trio.to_thread.run_sync, delete)
    left = [id for id in ids if not isinstance(await client.get(id), Refused)]
    assert summaries["requeue"].changed == len(left)
    assert summaries["delete"].changed == len(ids) - len(left)
    assert set(await states_of(client, *left)) <= {TaskState.PENDING}


# Edits.


async def test_an_edit_by_id_is_of_json_values_and_later_starts_begin_with_it(client: AnyClient) -> None:
    id = await made(client, *FAILED)
    before = await record_of(client, id)

    def edit(metadata: Any, progress: Any) -> tuple[Any, Any]:
        return metadata | {"id": 7}, progress | {"page": 9}

    after = (await client.requeue(id, edit=edit, by="ada", reason="wrong number")).unwrap()
    assert after == await record_of(client, id)
    assert (after.metadata["id"], after.execution_metadata["page"]) == (7, 9)  # type: ignore[call-overload, index]
    assert (after.state, after.idempotency_key != before.idempotency_key) == (TaskState.PENDING, True)
    line = (await client.history(id))[-1]
    assert (line.reason, line.by) == ("edited; wrong number", "ada")
    for step in FAILED:
        await change(client.store, id, step)
    again = (await client.requeue(id, from_start=True)).unwrap()
    assert again.execution_metadata == {"page": 9, "part": None}


async def test_an_edit_by_a_query_is_of_the_tasks_own_types(client: AnyClient) -> None:
    ids = [await made(client, *FAILED, id=n) for n in range(3)]
    seen: list[tuple[Order, Progress]] = []

    def edit(order: Order, progress: Progress) -> tuple[Order, Progress]:
        seen.append((order, progress))
        if order.id == 1:
            raise LookupError("no such order")
        return attrs.evolve(order, part=Part("nut", Color.BLUE)), Progress(page=progress.page + 1)

    summary = await client.requeue_all(SHIPS, edit=edit)
    assert summary == BulkSummary(3, 2, {"the modification failed: LookupError: no such order": 1})
    assert seen[0] == (Order(0), Progress(3))
    record = await record_of(client, ids[2])
    assert ship.decode(1, record.metadata_json, record.execution_metadata_json).unwrap() == (
        Order(2, Part("nut", Color.BLUE)),
        Progress(4),
    )
    assert await states_of(client, *ids) == [TaskState.PENDING, TaskState.FAILED, TaskState.PENDING]


async def test_an_edit_by_a_handle_is_of_the_tasks_own_types(client: AnyClient) -> None:
    handle: Any = await client.enqueue(ship.with_metadata(Order(1)).with_execution_metadata(Progress(3)))
    await client.cancel(handle.id)
    after = (await client.requeue(handle, edit=lambda order, _: (attrs.evolve(order, id=8), Progress(1)))).unwrap()
    assert (after.metadata_json[:8], after.execution_metadata) == ('{"at":"2', {"page": 1, "part": None})


async def test_from_the_start_an_edit_is_given_what_the_task_started_with(client: AnyClient) -> None:
    id = await made(client, CLAIMED, events.Committed(JsonText('{"page":8}')), events.Failed(JsonText('"no"')))
    given: list[Any] = []

    def edit(metadata: Any, progress: Any) -> tuple[Any, Any]:
        given.append(progress["page"])
        return metadata, progress

    await client.requeue(id, from_start=True, edit=edit)
    await client.cancel(id)
    assert given == [3]
    assert (await record_of(client, id)).initial_execution_metadata_json == '{"page":3,"part":null}'


def not_a_number(metadata: Any, progress: Any) -> Any:
    return metadata, float("nan")


def with_nul(metadata: Any, progress: Any) -> Any:
    return {"a": "\0"}, progress


def only_one(metadata: Any, progress: Any) -> Any:
    return metadata


def raising(metadata: Any, progress: Any) -> Any:
    return metadata["nothing"]


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (not_a_number, "the edited execution metadata cannot be stored: "),
        (with_nul, "the edited metadata cannot be stored: $.a"),
        (only_one, "must return a tuple of metadata and execution metadata"),
        (raising, "KeyError: 'nothing'"),
    ],
)
async def test_an_edit_that_fails_changes_nothing(client: AnyClient, edit: Any, reason: str) -> None:
    id = await made(client, *FAILED)
    before = await record_of(client, id)
    refusal = (await client.requeue(id, edit=edit)).failure()
    assert isinstance(refusal, ModificationFailed)
    assert reason in refusal.reason
    assert await record_of(client, id) == before


async def test_a_typed_edit_is_checked_by_the_codec(client: AnyClient) -> None:
    id = await made(client, *FAILED)

    def wrong(order: Order, progress: Progress) -> Any:
        return order, Order(1)

    summary = await client.requeue_all(SHIPS, edit=wrong)
    ((reason, count),) = summary.refused.items()
    assert (summary.changed, count) == (0, 1)
    assert "the edited execution metadata cannot be stored" in reason
    assert await states_of(client, id) == [TaskState.FAILED]


async def test_a_task_that_goes_on_is_not_edited_and_the_edit_not_even_asked(client: AnyClient) -> None:
    def edit(metadata: Any, progress: Any) -> tuple[Any, Any]:
        raise AssertionError

    running, held = await made(client, CLAIMED), await made(client, *FAILED, key="k")
    holder = await made(client, key="k")
    nobody = TaskId("00000000-0000-7000-8000-000000000000")
    assert (await client.requeue(running, edit=edit)).failure() == WrongState(TaskState.RUNNING)
    assert (await client.requeue(nobody, edit=edit)).failure() == TaskNotFound(nobody)
    taken = (await client.requeue(held, edit=lambda m, x: (m, x))).failure()
    assert taken == KeyTaken("ship", "k", holder)


async def test_a_quarantined_row_that_no_task_can_read_is_repaired_as_json_and_runs(store: Store) -> None:
    client = Client(store)
    id = await made(client, CLAIMED, events.Stalled())

    def spoil(session: Session) -> None:
        (record,) = session.get([id])
        event = events.Requeued(edited=events.Edited(JsonText('{"id":[1]}'), JsonText('{"page":"x"}'), record.version))
        decided = transition(record, event, now=session.now())
        assert isinstance(decided, Transition)
        assert session.write([decided]) == [True]

    await store.transact(spoil)
    async with open_executor(store, [ship], config=quick(stalls_max=1)):
        record = await until_state(store, id, TaskState.QUARANTINED)
        assert record.crash is not None
        typed = await client.requeue_all(SHIPS, edit=lambda order, progress: (order, progress))
        assert "the request cannot be decoded" in next(iter(typed.refused))
        repaired = await client.requeue(id, edit=lambda m, x: ({"id": m["id"][0]}, {"page": 1}), by="ada")
        assert repaired.unwrap().metadata == {"id": 1}
        await until_state(store, id, TaskState.COMPLETED)


def one_more(number: int, progress: Any) -> tuple[int, Any]:
    return number + 1, progress


async def test_an_edited_task_is_counted_under_the_limits_of_its_new_metadata(client: AnyClient) -> None:
    @task(rate_limit=RateLimit(5, timedelta(seconds=1), key=lambda metadata: f"shop {metadata}"))
    def sell(metadata: int, _: int) -> TaskResult[int, str]:
        return Success.with_result(metadata)

    id = (await client.enqueue(sell.with_metadata(1))).id
    await client.cancel(id)
    before = await record_of(client, id)
    await client.requeue_all(TaskQuery.for_task(sell), edit=one_more)
    after = await record_of(client, id)
    assert (before.rate_key, after.rate_key) == (sell.limit_keys(1)[0], sell.limit_keys(2)[0])
    assert before.rate_key != after.rate_key
    await client.cancel(id)
    await client.requeue(id, edit=lambda metadata, x: (metadata, x))
    assert (await record_of(client, id)).rate_key == after.rate_key


async def test_an_edit_brings_a_row_of_an_old_version_to_the_tasks_own(client: AnyClient) -> None:
    @task(name="grow")
    def young(metadata: int, _: int) -> TaskResult[int, str]:
        return Success.with_result(metadata)

    @task(name="grow", version=2, upgrades={1: lambda metadata, x: (str(metadata), x)})
    def grown(metadata: str, _: int) -> TaskResult[str, str]:
        return Success.with_result(metadata)

    ids = [(await client.enqueue(young.with_metadata(n))).id for n in (1, 2)]
    for id in ids:
        await client.cancel(id)

    def grow(metadata: str, progress: int) -> tuple[str, int]:
        return metadata + "!", progress + 1

    await client.requeue_all(TaskQuery.for_task(grown).with_id(ids[0]), edit=grow)
    await client.requeue(ids[1], edit=one_more)
    typed, plain = [await record_of(client, id) for id in ids]
    assert (typed.version, typed.metadata, typed.execution_metadata) == (2, "1!", 1)
    assert (plain.version, plain.metadata) == (1, 3)
