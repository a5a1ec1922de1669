"""What every check is made of: sample tasks, one call per verb, and comparisons that say what differs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from inspect import iscoroutinefunction
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias, cast, final

import attrs
from attrs import frozen

from milepost.lifecycle.change import Transition
from milepost.lifecycle.events import Claimed, Event
from milepost.lifecycle.record import HistoryEvent, TaskId, TaskRecord
from milepost.lifecycle.transition import DEFAULT_POLICY, Policy, transition
from milepost.payload import JsonText
from milepost.stores.filter import TaskFilter
from milepost.stores.protocol import ClaimOrder, Lease, Session, Store

MakeStore: TypeAlias = Callable[[], AbstractAsyncContextManager[Store]]
"""Opens a fresh, empty store."""

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
EVERYTHING = 1_000_000


@final
@frozen
class StoreCheck:
    """One promise: its sentence, and the check that fails where a store breaks it."""

    name: str
    run: Callable[[MakeStore], Awaitable[None]]


def checks_in(module: ModuleType) -> Iterator[StoreCheck]:
    """The public coroutine functions that `module` defines; each is named by the promise that it checks."""
    for name, function in vars(module).items():
        if iscoroutinefunction(function) and function.__module__ == module.__name__ and not name.startswith("_"):
            yield _check(name.replace("_", " "), cast("Callable[[Store], Awaitable[None]]", function))


def _check(name: str, body: Callable[[Store], Awaitable[None]]) -> StoreCheck:
    async def run(make_store: MakeStore) -> None:
        async with make_store() as store:
            await body(store)

    return StoreCheck(name, run)


def same(got: object, wanted: object, what: str) -> None:
    """Fail unless `got` equals `wanted`; of two records only the fields that differ are told."""
    if got != wanted:
        raise AssertionError(f"{what}: {_difference(got, wanted)}")


def holds(condition: object, what: str) -> None:
    """Fail with `what` unless `condition` is true; unlike `assert`, under `python -O` too."""
    if not condition:
        raise AssertionError(what)


@contextmanager
def refused(expected: type[Exception], what: str) -> Generator[None]:
    """Fail unless the block raises `expected`."""
    try:
        yield
    except expected:
        return
    raise AssertionError(f"{what}: nothing was raised, expected {expected.__name__}")


def _difference(got: object, wanted: object) -> str:
    if isinstance(got, TaskRecord) and isinstance(wanted, TaskRecord):
        pairs = ((x.name, getattr(got, x.name), getattr(wanted, x.name)) for x in attrs.fields(TaskRecord))
        return ", ".join(f"{name} is {have!r}, expected {want!r}" for name, have, want in pairs if have != want)
    return f"got {got!r}, expected {wanted!r}"


def task_id(n: int) -> TaskId:
    """Ids as milepost makes them, UUIDs in order of time, but known beforehand."""
    return TaskId(f"01890000-0000-7000-8000-{n:012x}")


def sample(n: int, **changes: Any) -> TaskRecord:
    """A new pending task, due at NOW."""
    metadata = JsonText(f'{{"n":{n}}}')
    plain = TaskRecord(id=task_id(n), name="send", due_at=NOW, metadata_json=metadata, created_at=NOW - HOUR)
    return attrs.evolve(plain, **changes)


def samples(*numbers: int, **changes: Any) -> list[TaskRecord]:
    """Several of `sample`."""
    return [sample(n, **changes) for n in numbers]


def sample_lease(executor: str, until: datetime = NOW + HOUR) -> Lease:
    """An executor that was announced an hour ago and runs what `sample` makes."""
    then = NOW - HOUR
    return Lease(executor, "host", 1, then, then, until, slots=10, running=0, tasks={"send": 1}, queues=None)


def numbers(records: Iterable[TaskRecord]) -> list[int]:
    """Which samples these are."""
    return [int(record.id[-12:], 16) for record in records]


def decided(record: TaskRecord, event: Event, *, now: datetime = NOW, policy: Policy = DEFAULT_POLICY) -> Transition:
    """What the pure transition says, where it must not refuse."""
    decision = transition(record, event, now=now, policy=policy)
    if not isinstance(decision, Transition):
        raise AssertionError(f"the check itself is wrong: {event} on a {record.state.value} task is refused")
    return decision


async def insert(store: Store, *records: TaskRecord) -> None:
    """Insert in one transaction."""
    await store.transact(lambda session: session.insert(records))


async def claim(
    store: Store,
    executor: str = "ada",
    *,
    limit: int = 100,
    names: Mapping[str, int] | None = None,
    queue: str = "default",
    now: datetime = NOW,
) -> list[TaskRecord]:
    """Claim in one transaction."""
    order = ClaimOrder(executor, queue, {"send": 1} if names is None else names, limit)
    return await store.transact(lambda session: session.claim(order, now=now))


async def write(store: Store, *transitions: Transition) -> list[bool]:
    """Write in one transaction."""
    return await store.transact(lambda session: session.write(transitions))


async def apply(store: Store, record: TaskRecord, event: Event, *, now: datetime = NOW) -> TaskRecord:
    """Decide and write, where the write must be accepted; returns the record as it is now."""
    change = decided(record, event, now=now)
    same(await write(store, change), [True], f"the answer to writing {type(event).__name__} on an unchanged row")
    return change.after


async def get(store: Store, id: TaskId) -> TaskRecord:
    """Read one task that must be there."""
    found = await store.read(lambda session: session.get([id]))
    same([record.id for record in found], [id], "the ids that get returns")
    return found[0]


async def claim_one(store: Store, record: TaskRecord, executor: str = "ada", *, now: datetime = NOW) -> TaskRecord:
    """Insert `record` and claim it for an executor with a live lease."""
    await open_leases(store, executor, until=now + HOUR)
    await insert(store, record)
    names = {record.name: record.version}
    claimed = await claim(store, executor, names=names, queue=record.queue, now=now)
    same([found.id for found in claimed], [record.id], "the ids that claim returns")
    return claimed[0]


async def open_leases(store: Store, *executors: str, until: datetime = NOW + HOUR) -> None:
    """Announce executors whose leases end at `until`."""

    def announce(session: Session) -> None:
        for executor in executors:
            session.open_lease(sample_lease(executor, until))

    await store.transact(announce)


async def search(store: Store, wanted: TaskFilter, *, limit: int = EVERYTHING) -> list[TaskRecord]:
    """Search in one transaction."""
    return await store.read(lambda session: session.search(wanted, limit=limit))


async def count(store: Store, wanted: TaskFilter) -> int:
    """Count in one transaction."""
    return await store.read(lambda session: session.count(wanted))


async def history(store: Store, id: TaskId) -> list[HistoryEvent]:
    """Read one task's history."""
    return await store.read(lambda session: session.history(id))


async def holders(store: Store, *keys: tuple[str, str]) -> dict[tuple[str, str], TaskRecord]:
    """Read who holds these keys."""
    return await store.read(lambda session: session.holders(keys))


async def delete(store: Store, *ids: int) -> int:
    """Delete samples in one transaction."""
    return await store.transact(lambda session: session.delete([task_id(n) for n in ids]))


class Dump(NamedTuple):
    """Everything that a store holds, as its verbs tell it."""

    records: list[TaskRecord]
    history: dict[TaskId, list[HistoryEvent]]
    leases: list[Lease]


async def dump(store: Store) -> Dump:
    """Read everything."""
    return await store.read(read_dump)


def read_dump(session: Session) -> Dump:
    """Everything, inside a transaction."""
    records = session.search(TaskFilter(), limit=EVERYTHING)
    return Dump(records, {record.id: session.history(record.id) for record in records}, session.leases())


async def unchanged(store: Store, before: Dump, what: str) -> None:
    """Fail if anything at all differs from `before`."""
    after = await dump(store)
    for record, earlier in zip(after.records, before.records, strict=False):
        same(record, earlier, what)
    same(after, before, what)


async def expected_claim(store: Store, before: TaskRecord, claimed: TaskRecord, now: datetime) -> None:
    """Fail unless `claimed` is what the pure transition makes of `before`, in the answer and in the store."""
    holds(claimed.token, "a claimed task has no token")
    wanted = decided(before, Claimed(claimed.executor or "", claimed.token or ""), now=now).after
    same(claimed, wanted, f"a {before.state.value} task as the claim returns it")
    same(await get(store, before.id), wanted, f"a {before.state.value} task as the claim stores it")
