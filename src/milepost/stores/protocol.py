"""What a store is: a `Session` (one open transaction, plain synchronous verbs) in an asynchronous shell, the `Store`.

A session speaks `TaskRecord`s, knows no user types and makes no policy decision: changes of state arrive decided, as
`Transition`s, and are written only if the row is still what the decision was made on. Each promise below is a named
check in `milepost.testing.check_store`; a store that passes it is a store.

**Who may be claimed** (`claim`). A record is eligible for an order when its name is in `order.names` with a version no
higher than the one given there, its queue is `order.queue`, and either

- it is *due*: `due_at` is set and not after `now` (pending, retrying, interrupted, or suspended with a wake-up), or
- it is *expired*: it is running, and its executor has no lease row or one whose `lease_until` is before `now`.

Nothing of a paused queue is eligible, nor of one with a `concurrency` (`Session.settings`) for an order without
`due_max`. Whatever was said of the queue and committed before the claim began is heeded.

**In which order.** Expired ones first, at most half of the limit, rounded up (of a limit of 1 only when nothing is
due), so that a task that kills its process cannot starve fresh work; then due ones by priority, highest first, then due
time, then order of arrival. What is due fills whatever is left of the limit, up to `order.due_max`.

**What a claim does** is what `transition(record, Claimed(...))` says, and it is exclusive: two sessions never both get
a record. It reads no payload, and it never scans past rows that it cannot take: the time for a claim does not grow
with the number of waiting rows, of other names, of other queues or of rows that fall due later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import Flag, auto
from typing import Any, Protocol, TypedDict, TypeVar, final

from attrs import field, frozen

from milepost.effects import Transaction
from milepost.errors import ConfigurationError
from milepost.lifecycle.change import Transition
from milepost.lifecycle.children import Child
from milepost.lifecycle.queues import QueueSettings
from milepost.lifecycle.record import HistoryEvent, TaskId, TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.lifecycle.terms import Terms
from milepost.stores.filter import TaskFilter
from milepost.stores.flow_tables import EventTable, JoinTable, ScheduleTable
from milepost.stores.tables import EndTable, LimitTable, LogLine, LogTable, QueueTable

T = TypeVar("T")


@final
@frozen
class ClaimOrder:
    """What an executor can take from one queue: task names with the highest version that it knows, and how many.

    Who has counted what runs of a limited queue says how many due tasks may be added to that, as `due_max`.
    """

    executor: str
    queue: str
    names: Mapping[str, int]
    limit: int
    due_max: int | None = None

    @property
    def fresh_limit(self) -> int:
        """How many of those that it may take may be due ones."""
        return self.limit if self.due_max is None else min(self.limit, self.due_max)

    def is_shut_out_by(self, settings: QueueSettings) -> bool:
        """Whether it gets nothing from the queue: that is paused, or limited and nobody has counted."""
        return settings.is_paused or (settings.concurrency is not None and self.due_max is None)


@final
@frozen
class Lease:
    """One living executor process: who it is, until when the others believe it, and what it told of its work.

    Of its `slots`, `running` were taken when it last renewed. It runs `tasks`, each name with the highest version that
    it knows, from `queues`; None are all queues. `terms` say how many of what it starts.
    """

    executor: str
    host: str
    pid: int
    started_at: datetime
    renewed_at: datetime
    lease_until: datetime
    slots: int
    running: int
    tasks: Mapping[str, int]
    queues: tuple[str, ...] | None
    terms: Terms = field(factory=Terms)

    def is_alive(self, now: datetime) -> bool:
        """Whether the others still believe in it."""
        return self.lease_until >= now


@final
@frozen
class Held:
    """A running task as its owner must know it: whose claim it is now, and whether somebody asked for its end."""

    id: TaskId
    fence: int
    token: str
    cancel_reason: str | None = None


@final
@frozen
class Report:
    """Human progress of one run; kept only while `token` still owns the task, and latest wins."""

    id: TaskId
    token: str
    fraction: float
    note: str


@final
@frozen
class TaskCopy:
    """A task as another store takes it over: its number in the order of arrival here, its stored history, the lines
    that its runs have logged, and the children that it waits for, or waited for last."""

    number: int
    record: TaskRecord
    history: tuple[HistoryEvent, ...]
    logs: tuple[LogLine, ...] = ()
    children: tuple[Child, ...] = ()


class Hint(Flag):
    """What a committed transaction may have changed. Hints may be lost or false: polling alone stays correct."""

    DUE = auto()
    CANCEL = auto()
    FINAL = auto()


ANY_HINT = Hint.DUE | Hint.CANCEL | Hint.FINAL


def hints_of(after: TaskRecord) -> Hint:
    """What the others may want to know of a record that was just inserted or written."""
    if after.due_at is not None:
        return Hint.DUE
    if after.state is TaskState.RUNNING:
        return Hint.CANCEL if after.cancel_requested_at is not None else Hint(0)
    return Hint.FINAL if after.state.is_final or after.state is TaskState.QUARANTINED else Hint(0)


class Session(Protocol):
    """One open transaction. Its verbs may be called in any order and see each other's changes; nothing is visible to
    other sessions before the transaction commits."""

    @property
    def transaction(self) -> Transaction:
        """The same transaction as user code may see it."""
        ...

    @property
    def settings(self) -> QueueTable:
        """What somebody has said of queues."""
        ...

    @property
    def limits(self) -> LimitTable:
        """Who has used how much of what is limited."""
        ...

    @property
    def logs(self) -> LogTable:
        """The lines that runs have logged."""
        ...

    @property
    def ends(self) -> EndTable:
        """What has ended, for those who remove it."""
        ...

    @property
    def joins(self) -> JoinTable:
        """Whom tasks wait for."""
        ...

    @property
    def schedules(self) -> ScheduleTable:
        """What fires again and again."""
        ...

    @property
    def events(self) -> EventTable:
        """Named events that were sent."""
        ...

    def now(self) -> datetime:
        """The store's clock: aware UTC, never below a time that this store has already given out and stored."""
        ...

    def insert(self, records: Iterable[TaskRecord]) -> None:
        """Add new tasks, in order of arrival. Keys are expected to be free (see `holders`); a taken one is an error."""
        ...

    def insert_unbounded(self, records: Sequence[TaskRecord]) -> bool:
        """`insert`, if none of their queues has a capacity; False means that one has, and that nothing was inserted."""
        ...

    def holders(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], TaskRecord]:
        """The live task that holds each (name, key); free ones are absent."""
        ...

    def claim(self, order: ClaimOrder, *, now: datetime) -> list[TaskRecord]:
        """Take up to `order.limit` eligible tasks, with their history; see the rules above. Returns them as claimed."""
        ...

    def queues(self, names: Mapping[str, int]) -> list[str]:
        """Every queue that is not paused in which a task of one of `names` waits or runs, sorted."""
        ...

    def next_due(self, names: Mapping[str, int], queues: Sequence[str]) -> datetime | None:
        """The earliest due time among what could be claimed for `names` in those of `queues` that are not paused.

        None when nothing waits.
        """
        ...

    def write(self, transitions: Sequence[Transition]) -> list[bool]:
        """Apply each transition, with its history, if the row still has the version of its `before`: state, fence,
        token, sequence and revision. One answer per transition; False means that nothing of it was written.

        What was reported since `before` was read stays, unless the transition itself resets it.
        """
        ...

    def report(self, reports: Sequence[Report]) -> None:
        """Keep human progress where the token still owns the running task; no history, no new revision."""
        ...

    def get(self, ids: Sequence[TaskId]) -> list[TaskRecord]:
        """The tasks with these ids, in the order asked for; unknown ones are left out."""
        ...

    def search(self, wanted: TaskFilter, *, limit: int) -> list[TaskRecord]:
        """Up to `limit` tasks that match, in the filter's order, from its cursor on."""
        ...

    def count(self, wanted: TaskFilter) -> int:
        """How many tasks match, whatever the cursor."""
        ...

    def ids(self, wanted: TaskFilter) -> list[TaskId]:
        """The ids of all tasks that match, in the filter's order, from its cursor on."""
        ...

    def history(self, id: TaskId) -> list[HistoryEvent]:
        """The task's recorded changes, oldest first; empty for an unknown id.

        The enqueueing is told from the row (`enqueued_history`) and not stored, so it costs a bulk enqueue nothing.
        """
        ...

    def delete(self, ids: Sequence[TaskId]) -> int:
        """Remove tasks that are not running, with history, lines and kept ends of their children; returns how many.

        One that somebody waits for (`Tie.AWAITED`) stays until it is final; its end stays with those who wait for it.
        """
        ...

    def copy_out(self, after: int, *, limit: int) -> list[TaskCopy]:
        """Up to `limit` tasks in order of arrival, from behind number `after` on; 0 is before the first."""
        ...

    def copy_in(self, copies: Sequence[TaskCopy]) -> None:
        """Add tasks as they were in another store, with history and lines, as the newest arrivals in this order.

        Numbers are given anew. Whatever ran there still counts as running, of an executor that is unknown here.
        """
        ...

    def open_lease(self, lease: Lease) -> None:
        """Announce an executor; what it announced before is replaced."""
        ...

    def renew(self, executor: str, *, now: datetime, lease_until: datetime, running: int) -> bool:
        """Extend a lease and tell how many tasks run under it; False when there is no such lease any more."""
        ...

    def close_lease(self, executor: str) -> None:
        """Forget an executor. Whatever it still owns counts as expired from now on."""
        ...

    def leases(self) -> list[Lease]:
        """Every announced executor, by id, the expired ones too."""
        ...

    def held(self, executor: str) -> list[Held]:
        """The running tasks that this executor owns, by id."""
        ...

    def cancel_requests(self, executor: str) -> list[Held]:
        """Those of `held` whose end somebody asked for."""
        ...


class Watch(Protocol):
    """A listener for hints: what happened between two waits is not missed."""

    async def wait(self, seconds: float) -> bool:
        """Return True as soon as one of the watched hints may hold, False after `seconds`."""
        ...

    def wait_blocking(self, seconds: float) -> bool:
        """`wait` for a thread without trio."""
        ...

    def close(self) -> None:
        """Stop listening."""
        ...


class TransactOptions(TypedDict, total=False):
    """What `Store.transact` is told beside its function, for stores that pass it on to another one."""

    alone: bool
    within_seconds: float | None
    durable: bool


class Store(Protocol):
    """A database with tasks in it. Faults of the database are `StoreError`s; then nothing of the call was written,
    unless the call itself says otherwise, or the fault is a `CommitUnknown`: then all of it was, or nothing."""

    @property
    def url(self) -> str:
        """Where the store is, without secrets."""
        ...

    async def transact(
        self,
        function: Callable[[Session], T],
        *,
        alone: bool = False,
        within_seconds: float | None = None,
        durable: bool = True,
    ) -> T:
        """Run `function` in a transaction and return its value once it is durable; what it raises rolls it back.

        Runs on the store's own thread and is never abandoned: a call that waits in the queue may be cancelled, one that
        has started answers with what really happened. Unless `alone`, it may share its transaction with other calls,
        each under a savepoint of its own. Where others were on the same rows, a store may undo it and call `function`
        again, which therefore should keep nothing from one call to the next. A function that takes longer than
        `within_seconds` is rolled back, its SQL interrupted, and `EffectTimeout` raised. Without `durable`, a store
        whose power cut would end this process too may answer before the change survives one; what is durable later
        makes it durable as well. Others ignore it.
        """
        ...

    def transact_blocking(
        self,
        function: Callable[[Session], T],
        *,
        alone: bool = False,
        within_seconds: float | None = None,
        durable: bool = True,
    ) -> T:
        """`transact` from any thread, with or without trio."""
        ...

    async def read(self, function: Callable[[Session], T]) -> T:
        """Run `function` in a transaction that only reads, beside the writer."""
        ...

    def read_blocking(self, function: Callable[[Session], T]) -> T:
        """`read` from any thread."""
        ...

    def over(self, connection: Any) -> Session:
        """A session inside the caller's own open transaction. Raises TypeError for a connection of another kind."""
        ...

    def watch(self, hints: Hint) -> Watch:
        """Listen for `hints`, from now on."""
        ...

    def close(self) -> None:
        """Finish what is under way, then release every thread, connection and file. May be called twice."""
        ...


def checked_store(store: Store) -> Store:
    """`store` itself; raises `ConfigurationError` for what is none, such as a URL, which may hold a password."""
    if not callable(getattr(store, "transact_blocking", None)):
        raise ConfigurationError(
            f"a store is what `async with open_store(url) as store` gives, or BlockingClient.connect(url) opens, "
            f"got a {type(store).__name__}"
        )
    return store
