"""A whole store copied into another: exact, verified, all or nothing, and only where nobody works."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import attrs
import pytest

from milepost.errors import CopyDiffers, CopyRefused, StoreError
from milepost.lifecycle import events
from milepost.lifecycle.children import Child
from milepost.lifecycle.queues import QueueSettings, WhenFull
from milepost.lifecycle.record import Audit, TaskId
from milepost.payload import JsonText
from milepost.schedules.standing import ScheduleState
from milepost.stores.copy import copy_store, sum_of
from milepost.stores.flow_tables import ScheduleRow, SentEvent
from milepost.stores.memory import MemoryStore
from milepost.stores.open import connect_store
from milepost.stores.protocol import ClaimOrder, Lease, Session, Store, TaskCopy
from milepost.stores.tables import LogLine
from milepost.testing.conformance.kit import (
    HOUR,
    NOW,
    SECOND,
    decided,
    read_dump,
    sample,
    sample_lease,
    samples,
    task_id,
)
from tests.stores.test_conformance_catches import Passing, PassingStore

KINDS = ("memory", "apsw", "sqlite3", "postgres")
SETTINGS = [
    QueueSettings(name="bulk", paused_at=NOW, paused_reason="it's late", weight=3, concurrency=2),
    QueueSettings(name="mail", capacity=5, when_full=WhenFull.SPILL, spill_to="bulk"),
]
SCHEDULE = ScheduleRow(
    key="nightly",
    name="send",
    terms_json=JsonText('{"x":[1.0,-0.0,1e16]}'),
    request_json=JsonText('{"b":"\\ud83d","a":"\\u0000"}'),
    state=ScheduleState(counted_from=NOW, handled_until=NOW, next_at=NOW + HOUR, queued_at=NOW, runs=3),
    latest_task=TaskId("t"),
    due_at=NOW + HOUR,
    error="it's é\n",
    revision=7,
)
EVENT = SentEvent("paid", "order 7", "b", JsonText('{"b":"\\ud83d","a":1e16}'), NOW, NOW + HOUR)


@pytest.fixture
def server(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database, for the tests that are for PostgreSQL too."""
    wanted = "postgres" in request.node.callspec.params.values()
    return str(request.getfixturevalue("postgres_url")) if wanted else ""


@contextmanager
def opened(kind: str, folder: Path, name: str, server: str = "") -> Generator[Store]:
    urls = {"memory": "memory:", "postgres": f"{server}{'&' if '?' in server else '?'}milepost_schema={name}"}
    store = connect_store(urls.get(kind, f"sqlite:///{folder / name}.db?driver={kind}"))
    try:
        yield store
    finally:
        store.close()


def furnish(store: Store) -> None:
    """Tasks of five kinds, out of order, with payloads easily spoiled, and what was said of two queues."""
    spoilable = JsonText('{"x":[1.0,-0.0,1e16,12345678901234567890],"b":"\\ud83d","a":"\\u0000"}')

    def fill(session: Session) -> None:
        session.insert(samples(3, 1, audit=Audit.FULL))
        session.insert([sample(2, metadata_json=spoilable, key="k", due_at=NOW + HOUR, deadline_seconds=5)])
        ended, _ = session.claim(ClaimOrder("ada", "default", {"send": 1}, 2), now=NOW)
        session.logs.append([LogLine(ended.id, ended.fence, 0, NOW, 20, "milepost.task", "it's é\n")])
        session.write([decided(ended, events.Succeeded(spoilable), now=NOW + SECOND)])
        session.insert(samples(7, 5, name="other"))
        session.joins.put(task_id(5), [task_id(7), ended.id])
        for each in SETTINGS:
            session.settings.put(each)
        session.schedules.insert(SCHEDULE)
        session.events.keep(EVENT, delivered_at=None)
        session.events.keep(attrs.evolve(EVENT, id="a"), delivered_at=NOW + SECOND)

    store.transact_blocking(fill)


def children_of_five(session: Session) -> dict[TaskId, list[Child]]:
    return session.joins.children([task_id(5)])


def kept_events(store: Store) -> list[tuple[SentEvent, datetime | None]]:
    kept = store.read_blocking(lambda session: session.events.copy_out(0, limit=100))
    return [(each.event, each.delivered_at) for each in kept]


@pytest.mark.parametrize("target_kind", KINDS)
@pytest.mark.parametrize("source_kind", KINDS)
def test_a_copy_holds_what_the_source_holds(tmp_path: Path, source_kind: str, target_kind: str, server: str) -> None:
    with (
        opened(source_kind, tmp_path, "source", server) as source,
        opened(target_kind, tmp_path, "target", server) as target,
    ):
        furnish(source)
        sums = copy_store(source, target)
        before, after = source.read_blocking(read_dump), target.read_blocking(read_dump)
        assert (after.records, after.history) == (before.records, before.history)
        order = [store.read_blocking(lambda session: session.copy_out(0, limit=100)) for store in (source, target)]
        assert [copy.record.id for copy in order[1]] == [copy.record.id for copy in order[0]]
        assert target.read_blocking(lambda session: session.settings.all()) == SETTINGS
        assert target.read_blocking(children_of_five) == source.read_blocking(children_of_five)
        assert sums == source.read_blocking(sum_of) == target.read_blocking(sum_of)
        assert target.read_blocking(lambda session: session.schedules.all()) == [SCHEDULE]
        assert kept_events(target) == kept_events(source)
        assert (sums.tasks.rows, sums.history.rows, sums.logs.rows, sums.children.rows) == (5, 3, 1, 2)
        assert (sums.settings.rows, sums.schedules.rows, sums.events.rows) == (2, 1, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back_again_is_the_same(tmp_path: Path, kind: str, server: str) -> None:
    with opened("apsw", tmp_path, "a") as source, opened(kind, tmp_path, "b", server) as there:
        furnish(source)
        with opened("apsw", tmp_path, "c") as back:
            assert copy_store(source, there) == copy_store(there, back)


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_of_many_batches_is_whole_and_tells_its_progress(tmp_path: Path, kind: str, server: str) -> None:
    with opened("memory", tmp_path, "source") as source, opened(kind, tmp_path, "target", server) as target:
        source.transact_blocking(lambda session: session.insert(samples(*range(1_234))))
        told: list[int] = []
        assert copy_store(source, target, told=told.append).tasks.rows == 1_234
        assert told == [500, 1_000, 1_234]


def test_leases_are_not_copied(tmp_path: Path) -> None:
    with opened("memory", tmp_path, "source") as source, opened("apsw", tmp_path, "target") as target:
        announce(source, -timedelta(hours=1))
        announce(target, -timedelta(hours=1), name="other")
        copy_store(source, target)
        leases = target.read_blocking(lambda session: session.leases())
        assert [lease.executor for lease in leases] == ["other"]


def announce(store: Store, until: timedelta, *, name: str = "ada") -> None:
    store.transact_blocking(lambda session: session.open_lease(sample_lease(name, session.now() + until)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("alive", ["source", "target"])
def test_nothing_is_copied_while_an_executor_is_alive(tmp_path: Path, alive: str, kind: str, server: str) -> None:
    with opened("memory", tmp_path, "source") as source, opened(kind, tmp_path, "target", server) as target:
        furnish(source)
        announce(source if alive == "source" else target, timedelta(hours=1))
        with pytest.raises(CopyRefused, match=r"1 executor.* still work on .*ada on host.*stop them"):
            copy_store(source, target)
        assert target.read_blocking(lambda session: session.copy_out(0, limit=1)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_with_tasks_is_no_target(tmp_path: Path, kind: str, server: str) -> None:
    with opened("memory", tmp_path, "source") as source, opened(kind, tmp_path, "target", server) as target:
        furnish(source)
        target.transact_blocking(lambda session: session.insert(samples(1)))
        with pytest.raises(CopyRefused, match="has tasks already; copy into an empty store"):
            copy_store(source, target)
        assert target.read_blocking(sum_of).tasks.rows == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_with_a_schedule_or_an_event_is_no_target(tmp_path: Path, kind: str, server: str) -> None:
    with opened("memory", tmp_path, "source") as source, opened(kind, tmp_path, "target", server) as target:
        target.transact_blocking(lambda session: session.events.keep(EVENT, delivered_at=None))
        with pytest.raises(CopyRefused, match="has named events already; copy into an empty store"):
            copy_store(source, target)
        target.transact_blocking(lambda session: session.schedules.insert(SCHEDULE))
        with pytest.raises(CopyRefused, match="has schedules already; copy into an empty store"):
            copy_store(source, target)
        assert target.read_blocking(sum_of).events.rows == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_with_settings_of_queues_is_no_target(tmp_path: Path, kind: str, server: str) -> None:
    with opened("memory", tmp_path, "source") as source, opened(kind, tmp_path, "target", server) as target:
        furnish(source)
        target.transact_blocking(lambda session: session.settings.put(SETTINGS[0]))
        with pytest.raises(CopyRefused, match="has settings of queues already; copy into an empty store"):
            copy_store(source, target)
        assert target.read_blocking(lambda session: session.settings.all()) == SETTINGS[:1]


def test_a_store_is_not_copied_into_itself() -> None:
    store = MemoryStore()
    with pytest.raises(CopyRefused, match="into itself"):
        copy_store(store, store)


class Spoils(Passing):
    """Gives back something other than was copied in."""

    def copy_in(self, copies: Sequence[TaskCopy]) -> None:
        self.inner.copy_in(list(self.spoil(copies)))

    def spoil(self, copies: Sequence[TaskCopy]) -> Iterator[TaskCopy]:
        raise NotImplementedError


class LosesATask(Spoils):
    def spoil(self, copies: Sequence[TaskCopy]) -> Iterator[TaskCopy]:
        yield from copies[1:]


class LosesHistory(Spoils):
    def spoil(self, copies: Sequence[TaskCopy]) -> Iterator[TaskCopy]:
        yield from (attrs.evolve(copy, history=copy.history[1:]) for copy in copies)


class LosesLogs(Spoils):
    def spoil(self, copies: Sequence[TaskCopy]) -> Iterator[TaskCopy]:
        yield from (attrs.evolve(copy, logs=()) for copy in copies)


class LosesChildren(Spoils):
    def spoil(self, copies: Sequence[TaskCopy]) -> Iterator[TaskCopy]:
        yield from (attrs.evolve(copy, children=copy.children[1:]) for copy in copies)


class ChangesANumber(Spoils):
    def spoil(self, copies: Sequence[TaskCopy]) -> Iterator[TaskCopy]:
        for copy in copies:
            yield attrs.evolve(copy, record=copy.record.changed({"metadata_json": JsonText('{"x":1}')}))


class ChangesTheOrder(Spoils):
    def spoil(self, copies: Sequence[TaskCopy]) -> Iterator[TaskCopy]:
        yield from reversed(copies)


SPOILINGS = [LosesATask, LosesHistory, LosesLogs, LosesChildren, ChangesANumber, ChangesTheOrder]


@pytest.mark.parametrize("spoiling", SPOILINGS)
def test_a_target_that_gives_back_something_else_keeps_nothing(spoiling: type[Spoils]) -> None:
    source, target = MemoryStore(), PassingStore(spoiling)
    furnish(source)
    with pytest.raises(CopyDiffers, match=r"memory: gives back .* nothing was kept of it"):
        copy_store(source, target)
    assert target.read_blocking(sum_of).tasks.rows == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_that_fails_half_way_leaves_nothing(tmp_path: Path, kind: str, server: str) -> None:
    with opened("memory", tmp_path, "source") as source, opened(kind, tmp_path, "target", server) as target:
        source.transact_blocking(lambda session: session.insert(samples(*range(1_200))))

        def fail(tasks: int) -> None:
            if tasks == 1_000:
                raise StoreError("the disk is full")

        with pytest.raises(StoreError, match="the disk is full"):
            copy_store(source, target, told=fail)
        assert target.read_blocking(sum_of).tasks.rows == 0
        assert copy_store(source, target).tasks.rows == 1_200


def test_an_executor_that_comes_during_a_copy_makes_it_void(tmp_path: Path) -> None:
    with (
        opened("apsw", tmp_path, "source") as source,
        opened("apsw", tmp_path, "source") as elsewhere,
        opened("apsw", tmp_path, "target") as target,
    ):
        furnish(source)
        with pytest.raises(CopyRefused, match="ada on host"):
            copy_store(source, target, told=lambda tasks: announce(elsewhere, timedelta(hours=1)))
        assert target.read_blocking(sum_of).tasks.rows == 0
        assert source.read_blocking(sum_of).tasks.rows == 5


def test_a_dead_executors_lease_does_not_hinder_a_copy(tmp_path: Path) -> None:
    def dead(session: Session) -> None:
        lease: Lease = sample_lease("ada", session.now() - timedelta(microseconds=1))
        session.open_lease(lease)

    with opened("memory", tmp_path, "source") as source, opened("apsw", tmp_path, "target") as target:
        furnish(source)
        source.transact_blocking(dead)
        assert copy_store(source, target).tasks.rows == 5
