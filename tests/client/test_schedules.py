"""What a program says of schedules, of both clients on all stores: definitions, pauses, triggers, and lists of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import attrs
import pytest
from attrs import frozen
from returns.result import Failure as Refused

from milepost import (
    Audit,
    BlockingClient,
    Client,
    ConfigurationError,
    Misfire,
    Overlap,
    PayloadRefused,
    QueueFull,
    Schedule,
    ScheduleNotFound,
    ScheduleSync,
    ScheduleUnreadable,
    Store,
    Success,
    TaskDefinitionError,
    TaskResult,
    TaskState,
    WhenFull,
    daily,
    every,
    sync_schedules,
    sync_schedules_blocking,
    task,
)
from milepost.payload import JsonText
from milepost.stores import firing
from milepost.stores import schedules as stored
from milepost.stores.flow_tables import ScheduleRow
from milepost.stores.memory import MemoryStore
from milepost.stores.protocol import Session
from milepost.telemetry import ScheduleFailed
from tests.client.threaded import AnyClient, Order, Threaded, ship
from tests.executor.scheduled import row_of, tasks_of

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
NIGHTLY = daily().at("03:00").in_timezone("Europe/Rome")
REPORT = Schedule("report", ship.with_metadata(Order(1)), NIGHTLY)
HOURLY = Schedule("hourly", ship.with_metadata(Order(2)), every(HOUR))


async def stored_now(store: Store) -> datetime:
    return await store.read(lambda session: session.now())


async def changed(client: AnyClient, key: str, change: Callable[[ScheduleRow], ScheduleRow]) -> None:
    """Change what is stored of a schedule, behind everybody's back."""

    def write(session: Session) -> bool:
        return session.schedules.write(change(session.schedules.get([key])[key]))

    assert await client.store.transact(write)


async def damage(client: AnyClient, key: str, **texts: Any) -> None:
    await changed(client, key, lambda row: attrs.evolve(row, **texts))


# Definitions.


async def test_a_schedule_is_listed_with_what_it_does_and_when(client: AnyClient) -> None:
    before = await stored_now(client.store)
    told = (await client.schedule(REPORT)).unwrap()
    (info,) = await client.schedules()
    assert (told.key, info.key, info.name, info.terms) == ("report", "report", "ship", str(NIGHTLY))
    assert str(info) == "report: ship, daily at 03:00 (Europe/Rome)"
    assert info.next_at == told.next_at == NIGHTLY.next_after(before)
    assert info.next_instants(3) == NIGHTLY.preview(3, after=before)
    assert (info.queued_at, info.paused_at, info.is_paused, info.has_ended) == (None, None, False, False)
    assert (info.runs, info.skipped, info.latest_task, info.errors, info.error) == (0, 0, None, 0, "")


async def test_schedules_are_listed_by_key(client: AnyClient) -> None:
    assert await client.schedules() == []
    for key in "bca":
        await client.schedule(attrs.evolve(REPORT, key=key))
    assert [info.key for info in await client.schedules()] == ["a", "b", "c"]


async def test_the_same_definition_once_more_changes_nothing(client: AnyClient) -> None:
    await client.schedule(HOURLY)
    before = await row_of(client.store, "hourly")
    again = await client.schedule(Schedule("hourly", ship.with_metadata(Order(2)), every(HOUR)))
    assert again.unwrap().next_at == before.state.next_at
    assert await row_of(client.store, "hourly") == before


OTHERS: dict[str, dict[str, Any]] = {
    "when": {"when": every(2 * HOUR)},
    "policy": {"overlap": Overlap.ALLOW},
    "limit": {"run_limit": 7},
    "metadata": {"request": ship.with_metadata(Order(3))},
    "queue": {"request": ship.with_metadata(Order(2)).in_queue("slow")},
}


async def test_another_definition_holds_at_once_and_keeps_what_was_counted(client: AnyClient) -> None:
    for key, changes in OTHERS.items():
        await client.schedule(attrs.evolve(HOURLY, key=key))
        await changed(client, key, _has_run)
        now = await stored_now(client.store)
        other = attrs.evolve(HOURLY, key=key, **changes)
        info = (await client.schedule(other)).unwrap()
        assert (info.runs, info.errors, info.error, info.terms) == (4, 0, "", str(other.terms)), key
        assert info.next_at is not None
        assert info.next_at > now
        assert (await row_of(client.store, key)).due_at == info.next_at
        assert (await client.trigger(key)).unwrap()
        (record,) = await tasks_of(client.store, key)
        metadata, wanted = cast("dict[str, Any]", record.metadata), cast("Order", other.request.metadata)
        assert (metadata["id"], record.queue) == (wanted.id, other.request.queue or "default"), key


def _has_run(row: ScheduleRow) -> ScheduleRow:
    return attrs.evolve(row, state=attrs.evolve(row.state, runs=4), errors=3, error="no")


async def test_a_schedule_that_has_ended_says_so_until_it_is_given_another_end(client: AnyClient) -> None:
    past = attrs.evolve(HOURLY, until=datetime(2020, 1, 1, tzinfo=UTC))
    info = (await client.schedule(past)).unwrap()
    assert (info.has_ended, info.next_at, info.next_instants(2)) == (True, None, [])
    assert (await client.schedule(past)).unwrap().has_ended
    again = (await client.schedule(HOURLY)).unwrap()
    assert (again.has_ended, len(again.next_instants(2))) == (False, 2)


async def test_the_runs_that_are_left_bound_the_preview(client: AnyClient) -> None:
    info = (await client.schedule(attrs.evolve(HOURLY, run_limit=2))).unwrap()
    assert len(info.next_instants(10)) == 2
    with pytest.raises(ConfigurationError, match=r"next_instants\(\) needs a count of 0 or more, got -1"):
        info.next_instants(-1)


async def test_a_request_that_cannot_be_stored_is_refused(client: AnyClient) -> None:
    refused = await client.schedule(Schedule("x", ship.with_metadata(Order("a\0b")), NIGHTLY))
    assert isinstance(refused, Refused)
    assert isinstance(refused.failure(), PayloadRefused)
    assert str(refused.failure()).startswith("the request of the schedule 'x': metadata $.id")
    assert await client.schedules() == []


@frozen
class Place:
    page: int


@task(name="demanding")
def demanding(_: int, __: Place) -> TaskResult[int, int]:
    return Success.with_result(1).for_error(int)


async def test_a_request_without_its_execution_metadata_is_a_mistake() -> None:
    with pytest.raises(TaskDefinitionError, match="cannot start without execution metadata"):
        await Client(MemoryStore()).schedule(Schedule("x", demanding.with_metadata(1), NIGHTLY))


WRONG: list[Any] = [REPORT.request, "report", None]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: type(wrong).__name__)
def test_what_is_no_schedule_is_a_mistake(wrong: Any) -> None:
    client = BlockingClient(MemoryStore())
    with pytest.raises(ConfigurationError, match="a schedule is a Schedule, as Schedule"):
        client.schedule(wrong)
    with pytest.raises(ConfigurationError, match="a schedule is a Schedule, as Schedule"):
        client.sync_schedules([wrong])


async def test_the_audit_level_of_the_client_holds_for_what_is_scheduled(store: Store) -> None:
    await Client(store, audit=Audit.FULL).schedule(REPORT)
    await Client(store).trigger("report")
    (record,) = await tasks_of(store, "report")
    assert record.audit is Audit.FULL


# Whoever stands in for another.


async def test_a_removed_schedule_is_gone_and_what_it_has_enqueued_stays(client: AnyClient) -> None:
    await client.schedule(REPORT)
    id = (await client.trigger(REPORT)).unwrap()
    told = (await client.unschedule(REPORT)).unwrap()
    assert (told.key, told.latest_task) == ("report", id)
    assert await client.schedules() == []
    assert (await client.get(id)).unwrap().state is TaskState.PENDING
    assert await client.unschedule("report") == Refused(ScheduleNotFound("report"))


async def test_a_paused_schedule_fires_nothing_and_misses_nothing(client: AnyClient) -> None:
    await client.schedule(HOURLY)
    paused = (await client.pause_schedule("hourly")).unwrap()
    assert (paused.is_paused, paused.next_at) == (True, None)
    assert len(paused.next_instants(2)) == 2
    assert (await row_of(client.store, "hourly")).due_at is None
    assert (await client.pause_schedule(HOURLY)).unwrap().paused_at == paused.paused_at
    # As if it had been paused for three and a half hours.
    await changed(client, "hourly", lambda row: attrs.evolve(row, state=_earlier(row, 3.5 * HOUR)))
    resumed = (await client.resume_schedule("hourly")).unwrap()
    now = await stored_now(client.store)
    assert not resumed.is_paused
    assert resumed.next_at is not None
    assert now < resumed.next_at <= now + HOUR
    assert (await row_of(client.store, "hourly")).due_at == resumed.next_at
    assert (await client.resume_schedule("hourly")).unwrap().next_at == resumed.next_at
    assert await tasks_of(client.store, "hourly") == []


def _earlier(row: ScheduleRow, delay: timedelta) -> Any:
    state = row.state
    assert state.next_at is not None
    assert state.paused_at is not None
    return attrs.evolve(
        state,
        counted_from=state.counted_from - delay,
        handled_until=state.handled_until - delay,
        next_at=state.next_at - delay,
        paused_at=state.paused_at - delay,
    )


async def test_a_redefined_schedule_stays_paused(client: AnyClient) -> None:
    await client.schedule(HOURLY)
    await client.pause_schedule("hourly")
    info = (await client.schedule(attrs.evolve(HOURLY, when=every(2 * HOUR)))).unwrap()
    assert info.is_paused
    assert (await row_of(client.store, "hourly")).due_at is None


async def test_a_trigger_enqueues_at_once_and_moves_no_instant(client: AnyClient) -> None:
    before = (await client.schedule(attrs.evolve(HOURLY, run_limit=1))).unwrap()
    id = (await client.trigger("hourly")).unwrap()
    record = (await client.get(id)).unwrap()
    assert (record.state, record.schedule, record.schedule_at) == (TaskState.PENDING, "hourly", None)
    assert (record.name, record.metadata) == ("ship", (await _draft_metadata(client)))
    (after,) = await client.schedules()
    assert (after.next_at, after.runs, after.latest_task) == (before.next_at, 0, id)
    assert (await client.trigger("hourly")).unwrap() != id


async def _draft_metadata(client: AnyClient) -> Any:
    handle = await client.enqueue(HOURLY.request)
    return (await client.get(handle.id)).unwrap().metadata


async def test_a_trigger_works_while_the_schedule_is_paused_and_after_its_end(client: AnyClient) -> None:
    await client.schedule(attrs.evolve(HOURLY, until=datetime(2020, 1, 1, tzinfo=UTC)))
    assert (await client.trigger("hourly")).unwrap()
    await client.schedule(REPORT)
    await client.pause_schedule("report")
    assert (await client.trigger("report")).unwrap()
    assert (await row_of(client.store, "report")).due_at is None


async def test_a_trigger_into_a_full_queue_is_refused_and_leaves_nothing(client: AnyClient) -> None:
    await client.set_queue("mail", capacity=1, when_full=WhenFull.WAIT)
    await client.schedule(attrs.evolve(REPORT, request=REPORT.request.in_queue("mail")))
    assert (await client.trigger("report")).unwrap()
    before = await row_of(client.store, "report")
    assert await client.trigger("report") == Refused(QueueFull("mail", 1))
    assert await row_of(client.store, "report") == before
    assert len(await tasks_of(client.store, "report")) == 1


async def test_a_schedule_that_is_not_there_is_a_refusal(client: AnyClient) -> None:
    missing = Refused(ScheduleNotFound("nothing"))
    assert await client.unschedule("nothing") == missing
    assert await client.pause_schedule("nothing") == missing
    assert await client.resume_schedule("nothing") == missing
    assert await client.trigger("nothing") == missing
    assert await client.trigger("a\0b") == Refused(ScheduleNotFound("a\\0b"))
    assert str(missing.failure()) == "there is no schedule 'nothing'"


def test_what_names_no_schedule_is_a_mistake() -> None:
    wrong: Any = 7
    client = BlockingClient(MemoryStore())
    for verb in (client.unschedule, client.pause_schedule, client.resume_schedule, client.trigger):
        with pytest.raises(ConfigurationError, match="one schedule is meant by its key, a text, or by its Schedule"):
            verb(wrong)


# What cannot be read.


async def test_a_schedule_that_cannot_be_read_is_listed_and_repaired_by_its_definition(client: AnyClient) -> None:
    await client.schedule(REPORT)
    await damage(client, "report", terms_json=JsonText('{"when":7}'), request_json=JsonText("[]"))
    (info,) = await client.schedules()
    assert (info.terms, info.next_instants(3)) == ('{"when":7}', [])
    refused = await client.trigger("report")
    assert refused == Refused(ScheduleUnreadable("report", "$: [] is no object"))
    assert str(refused.failure()) == "the schedule 'report' cannot be read: $: [] is no object"
    repaired = (await client.schedule(REPORT)).unwrap()
    assert (repaired.terms, len(repaired.next_instants(3))) == (str(NIGHTLY), 3)
    assert (await client.trigger("report")).unwrap()


async def test_one_that_cannot_be_read_can_be_paused_and_resumed(client: AnyClient) -> None:
    await client.schedule(REPORT)
    await damage(client, "report", terms_json=JsonText("[]"))
    assert (await client.pause_schedule("report")).unwrap().is_paused
    assert not (await client.resume_schedule("report")).unwrap().is_paused
    (told,) = await client.store.transact(lambda session: firing.fire_due(session, now=session.now()))
    assert isinstance(told, ScheduleFailed)
    assert told.reason == "its terms cannot be read: $: [] is no object"


# All of a program's schedules.


async def test_the_schedules_of_a_program_are_made_those_of_the_store(client: AnyClient) -> None:
    await client.schedule(REPORT)
    await client.schedule(HOURLY)
    await client.schedule(attrs.evolve(REPORT, key="old"))
    ended = attrs.evolve(REPORT, key="ended", until=datetime(2020, 1, 1, tzinfo=UTC))
    wanted = [ended, attrs.evolve(HOURLY, misfire=Misfire.ALL), REPORT]
    told = (await client.sync_schedules(wanted, prune=True)).unwrap()
    assert told == ScheduleSync(
        created=("ended",), changed=("hourly",), unchanged=("report",), removed=("old",), ended=("ended",)
    )
    assert [info.key for info in await client.schedules()] == ["ended", "hourly", "report"]
    again = (await client.sync_schedules(wanted, prune=True)).unwrap()
    assert again == ScheduleSync(unchanged=("ended", "hourly", "report"), ended=("ended",))


async def test_without_prune_the_schedules_of_others_stay(client: AnyClient) -> None:
    await client.schedule(HOURLY)
    assert (await client.sync_schedules([REPORT])).unwrap() == ScheduleSync(created=("report",))
    assert (await client.sync_schedules([])).unwrap() == ScheduleSync()
    assert [info.key for info in await client.schedules()] == ["hourly", "report"]
    assert (await client.sync_schedules([], prune=True)).unwrap() == ScheduleSync(removed=("hourly", "report"))


async def test_all_schedules_of_a_sync_are_stored_or_none(client: AnyClient) -> None:
    await client.schedule(HOURLY)
    bad = Schedule("x", ship.with_metadata(Order("a\0b")), NIGHTLY)
    refused = await client.sync_schedules([REPORT, bad], prune=True)
    assert isinstance(refused.failure(), PayloadRefused)
    assert [info.key for info in await client.schedules()] == ["hourly"]


def test_two_schedules_of_one_key_are_a_mistake() -> None:
    client = BlockingClient(MemoryStore())
    with pytest.raises(ConfigurationError, match="these keys have more than one schedule each: 'report'"):
        client.sync_schedules([REPORT, attrs.evolve(REPORT, misfire=Misfire.ALL), HOURLY])


def test_what_is_no_list_of_schedules_is_a_mistake() -> None:
    client = BlockingClient(MemoryStore())
    one: Any = REPORT
    with pytest.raises(ConfigurationError, match=r"sync_schedules\(\) takes a list of schedules"):
        client.sync_schedules(one)
    maybe: Any = "yes"
    with pytest.raises(ConfigurationError, match="prune is True to remove all other schedules, or False, got 'yes'"):
        client.sync_schedules([REPORT], prune=maybe)


async def test_schedules_are_synced_with_a_store_or_a_client_of_either_kind(store: Store) -> None:
    assert (await sync_schedules(store, [REPORT])).unwrap().created == ("report",)
    assert (await sync_schedules(Client(store), [REPORT])).unwrap().unchanged == ("report",)
    inner = Threaded(BlockingClient(store)).inner
    assert (await sync_schedules(inner, [REPORT])).unwrap().unchanged == ("report",)


def test_schedules_are_synced_without_trio() -> None:
    with BlockingClient.connect("memory:") as client:
        assert sync_schedules_blocking(client.store, [REPORT]).unwrap().created == ("report",)
        assert sync_schedules_blocking(client, [REPORT], prune=True).unwrap().unchanged == ("report",)
        url: Any = "memory:"
        with pytest.raises(ConfigurationError, match="a store is what"):
            sync_schedules_blocking(url, [REPORT])


# Two at once.


async def test_a_change_goes_on_from_what_somebody_else_has_just_written(store: Store) -> None:
    """Between the read and the write of a pause, somebody triggers the schedule; and then removes it."""
    await Client(store).schedule(HOURLY)

    def interrupted(session: Session, other: Callable[[Session], object]) -> Any:
        asked: list[object] = []
        table = session.schedules
        inner = table.get

        class Meddled:
            def __getattr__(self, name: str) -> Any:
                return getattr(table, name)

            def get(self, keys: Any) -> Any:
                found = inner(keys)
                if not asked:
                    asked.append(other(session))
                return found

        class Seen:
            schedules = Meddled()

            def __getattr__(self, name: str) -> Any:
                return getattr(session, name)

        seen: Any = Seen()
        return stored.pause(seen, "hourly")

    paused = await store.transact(lambda session: interrupted(session, lambda s: stored.trigger(s, "hourly")))
    assert paused.unwrap().state.paused_at is not None
    assert paused.unwrap().latest_task is not None
    await Client(store).resume_schedule("hourly")
    gone = await store.transact(lambda session: interrupted(session, lambda s: stored.remove(s, "hourly")))
    assert gone == Refused(ScheduleNotFound("hourly"))
