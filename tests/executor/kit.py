"""What the tests of the executor share: quick settings, waiting with a deadline, a recorder, and stores that fail."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, Unpack, final

import trio

from milepost import (
    Client,
    Executor,
    ExecutorConfig,
    HistoryKind,
    Outcome,
    Store,
    Task,
    TaskId,
    TaskRecord,
    TaskRequest,
    TaskState,
    open_executor,
)
from milepost.lifecycle.change import Transition
from milepost.lifecycle.events import Event
from milepost.lifecycle.transition import Policy, transition
from milepost.stores.protocol import Hint, Session, TransactOptions, Watch
from milepost.telemetry import AttemptEnded, Observation
from milepost.testing.conformance.kit import sample_lease

T = TypeVar("T")
O = TypeVar("O", bound=Observation)  # noqa: E741 (the kind of an observation)

PATIENCE_SECONDS = 10.0
AnyTask = Task[Any, Any, Any, Any]
AnyRequest = TaskRequest[Any, Any, Any, Any]


def quick(**changes: Any) -> ExecutorConfig:
    """Settings for tests: polls often, and gives up soon."""
    settings: dict[str, Any] = {"poll_seconds": 0.05, "drain_seconds": 5, "cleanup_seconds": 0.2}
    return ExecutorConfig(**{**settings, **changes})


async def until(condition: Callable[[], object], what: str = "", *, seconds: float = PATIENCE_SECONDS) -> None:
    """Return once `condition` holds; fail after `seconds`."""
    with trio.move_on_after(seconds):
        # Some of what is waited for is in other threads and processes, which set no event here.
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.002)
        return
    raise AssertionError(f"waited {seconds} seconds in vain for {what or condition}")


async def until_async(
    condition: Callable[[], Awaitable[object]], what: str = "", *, seconds: float = PATIENCE_SECONDS
) -> None:
    """`until` for a condition that has to ask the store."""
    with trio.move_on_after(seconds):
        while not await condition():  # noqa: ASYNC110 (another process may be what changes the store)
            await trio.sleep(0.005)
        return
    raise AssertionError(f"waited {seconds} seconds in vain for {what or condition}")


def hold_thread(seconds: float) -> None:
    """Keep the calling thread from doing anything else, as user code that blocks does."""
    threading.Event().wait(seconds)


async def enqueue(store: Store, *requests: AnyRequest) -> list[TaskId]:
    """Store the requests; their ids, in order."""
    return [handle.id for handle in await Client(store).enqueue_all(requests)]


async def run(
    store: Store, tasks: Iterable[AnyTask], *requests: AnyRequest, config: ExecutorConfig | None = None
) -> list[Outcome[Any, Any]]:
    """Enqueue the requests, run them, and give their outcomes in order."""
    handles = await Client(store).enqueue_all(requests)
    async with open_executor(store, tasks, config=config or quick()):
        return [await handle.wait(PATIENCE_SECONDS) for handle in handles]


async def record_of(store: Store, id: TaskId) -> TaskRecord:
    """The task as it is stored."""
    return (await Client(store).get(id)).unwrap()


async def kinds_of(store: Store, id: TaskId) -> list[HistoryKind]:
    """What happened to the task, oldest first."""
    return [event.kind for event in await Client(store).history(id)]


async def until_state(store: Store, id: TaskId, *states: TaskState) -> TaskRecord:
    """The record, once the task is in one of `states`."""
    found: list[TaskRecord] = []

    async def reached() -> bool:
        found[:] = [await record_of(store, id)]
        return found[0].state in states

    await until_async(reached, f"the task to be {' or '.join(state.value for state in states)}")
    return found[0]


async def change(store: Store, id: TaskId, event: Event) -> TaskRecord:
    """Write what `event` makes of the task as it is now, behind the back of whoever runs it."""

    def written(session: Session) -> TaskRecord:
        (record,) = session.get([id])
        decided = transition(record, event, now=session.now(), policy=Policy())
        assert isinstance(decided, Transition)
        assert session.write([decided]) == [True]
        return decided.after

    return await store.transact(written)


def announce(session: Session, executor: str, lease: timedelta = timedelta(hours=1)) -> None:
    """Let there be another executor, with a lease that runs out after `lease`."""
    now = session.now()
    session.open_lease(sample_lease(executor, now + lease))


async def sql(store: Store, text: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Run one statement on a store with SQL, in a transaction of its own; its placeholders are `?`."""
    fitting = placeholders(store, text)
    return await store.transact(lambda session: session.transaction.execute(fitting, parameters), alone=True)


def placeholders(store: Store, text: str) -> str:
    """The statement as the store's database wants it, from one with `?` and `:n`."""
    return text if store.url.startswith("sqlite") else text.replace("?", "%s").replace(":n", "%(n)s")


@final
class Recorder:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.seen: list[Observation] = []

    def __call__(self, observation: Observation) -> None:
        self.seen.append(observation)

    def of(self, kind: type[O]) -> list[O]:
        """The observations of one kind, in order."""
        return [each for each in self.seen if isinstance(each, kind)]

    def ended(self, id: TaskId) -> list[AttemptEnded]:
        """The ends of attempts of one task, in order."""
        return [each for each in self.of(AttemptEnded) if each.id == id]


@final
class MovableClock:
    """The host's wall clock, moved forward by whatever a test says."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def forward(self, delay: timedelta) -> None:
        """Let `delay` pass at once."""
        self._ahead += delay


@asynccontextmanager
async def abandoned_executor(
    store: Store, tasks: Iterable[AnyTask], *, config: ExecutorConfig, observer: Recorder | None = None
) -> AsyncGenerator[Executor, None]:
    """An executor whose block is always left by an exception, so that what still runs is interrupted."""

    class _Left(Exception):
        pass

    try:
        async with open_executor(store, tasks, config=config, observer=observer) as executor:
            yield executor
            raise _Left
    except _Left:
        return


class PassingStore:
    """A store that passes everything on; made to be changed in one respect."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner

    @property
    def url(self) -> str:
        return self.inner.url

    async def transact(self, function: Callable[[Session], T], **options: Unpack[TransactOptions]) -> T:
        return await self.inner.transact(function, **options)

    def transact_blocking(self, function: Callable[[Session], T], **options: Unpack[TransactOptions]) -> T:
        return self.inner.transact_blocking(function, **options)

    async def read(self, function: Callable[[Session], T]) -> T:
        return await self.inner.read(function)

    def read_blocking(self, function: Callable[[Session], T]) -> T:
        return self.inner.read_blocking(function)

    def over(self, connection: Any) -> Session:
        return self.inner.over(connection)

    def watch(self, hints: Hint) -> Watch:
        return self.inner.watch(hints)

    def close(self) -> None:
        self.inner.close()
