"""The trio client: enqueue, look, wait and steer. A thin shell: each verb is one function of a session."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import Any, Generic, TypeVar, cast, final, overload

from attrs import field, frozen
from returns.result import Failure, Result, Success
from typing_extensions import TypeVar as DefaultTypeVar

from milepost.client import bulk, queues, verbs
from milepost.client.bulk import BulkSummary
from milepost.client.checks import checked_reason, checked_timeout, who
from milepost.client.editing import Edit
from milepost.client.executors import ExecutorInfo, executors
from milepost.client.groups import GroupHandle, GroupVerbs, group_handle
from milepost.client.logs import logs
from milepost.client.proceeding import Modify, Order
from milepost.client.pruning import prune
from milepost.client.query import TaskPage, TaskQuery
from milepost.client.queues import QueueInfo
from milepost.client.room import stored
from milepost.client.scheduling import ScheduleVerbs
from milepost.client.sending import EventVerbs
from milepost.client.steps import take
from milepost.client.targets import Target, id_of
from milepost.client.waiting import Waits
from milepost.client.within import TransactionClient
from milepost.lifecycle.gates import Gate
from milepost.lifecycle.queues import UNSET, QueueSettings, Unset, WhenFull
from milepost.lifecycle.record import Audit, HistoryEvent, TaskId, TaskRecord
from milepost.lifecycle.refusals import (
    CancelAccepted,
    CancelRefused,
    DeleteRefused,
    EnqueueRefusal,
    ProceedRefused,
    RequeueRefused,
    TaskNotFound,
)
from milepost.lifecycle.retention import PruneSummary, Retention
from milepost.results import Outcome
from milepost.stores import operations
from milepost.stores.enqueueing import Enqueued
from milepost.stores.facts import explain
from milepost.stores.protocol import Store, checked_store
from milepost.stores.tables import LogLine
from milepost.tasks import AnyTask, TaskRequest
from milepost.tasks.group import TaskGroup
from milepost.tasks.outcomes import outcome_of

M = TypeVar("M")
X = TypeVar("X")
R = TypeVar("R")
E = TypeVar("E")
R_co = DefaultTypeVar("R_co", covariant=True, default=Any)
E_co = DefaultTypeVar("E_co", covariant=True, default=Any)


@final
@frozen(eq=False)
class TaskHandle(Generic[R_co, E_co]):
    """An enqueued task. `created` is False when the live task that holds the key was joined in its place."""

    id: TaskId
    created: bool
    task: AnyTask = field(repr=False)
    _client: Client = field(repr=False)

    async def wait(self, timeout_seconds: float | None = None) -> Outcome[R_co, E_co]:
        """The outcome, once there is one. Raises `TimeoutError`, and `TaskGone` when the task was deleted."""
        return await self._client.wait(self, timeout_seconds=timeout_seconds)

    def outcome(self, record: TaskRecord) -> Outcome[R_co, E_co] | None:
        """The typed outcome of a record of this task; None before its end."""
        return outcome_of(record, self.task)


@final
@frozen(eq=False)
class Client(GroupVerbs, ScheduleVerbs, EventVerbs):
    """Asks a store from trio. Expected refusals are `returns` values, faults of the store are `StoreError`s.

    `audit` is how much history is kept of tasks that neither their definition nor their request decides on.
    """

    store: Store
    audit: Audit = Audit.TRANSITIONS
    _waits: Waits = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_waits", Waits(checked_store(self.store)))

    async def enqueue(
        self, request: TaskRequest[M, X, R, E], *, timeout_seconds: float | None = None
    ) -> TaskHandle[R, E]:
        """Store one task; durable when this returns. Raises `EnqueueRefused`; costs one commit.

        Where its queue is full and set to WAIT, waits for room: for ever, or at most for `timeout_seconds`.
        """
        return verbs.or_raise(await self.try_enqueue(request, timeout_seconds=timeout_seconds))

    async def enqueue_all(
        self, requests: Iterable[TaskRequest[M, X, R, E]], *, timeout_seconds: float | None = None
    ) -> list[TaskHandle[R, E]]:
        """Store tasks in one transaction, all or none. Raises `EnqueueRefused`."""
        return verbs.or_raise(await self.try_enqueue_all(requests, timeout_seconds=timeout_seconds))

    async def try_enqueue(
        self, request: TaskRequest[M, X, R, E], *, timeout_seconds: float | None = None
    ) -> Result[TaskHandle[R, E], EnqueueRefusal]:
        """`enqueue` with its refusal as a value."""
        answer = await self.try_enqueue_all([request], timeout_seconds=timeout_seconds)
        return answer.map(lambda handles: handles[0])

    async def try_enqueue_all(
        self, requests: Iterable[TaskRequest[M, X, R, E]], *, timeout_seconds: float | None = None
    ) -> Result[list[TaskHandle[R, E]], EnqueueRefusal]:
        """`enqueue_all` with its refusal as a value."""
        kept = verbs.several(requests)
        drafts = verbs.drafts_of(kept, self.audit)
        if not isinstance(drafts, Success):
            return Failure(drafts.failure())
        answers = await stored(self.store, drafts.unwrap(), timeout_seconds)
        if not isinstance(answers, Success):
            return Failure(answers.failure())
        return Success([self._handle(a, r.task) for a, r in zip(answers.unwrap(), kept, strict=True)])

    def within(self, connection: Any) -> TransactionClient:
        """The verbs that change one task inside your own open transaction on `connection`, which you commit, or not.

        On SQLite an `apsw.Connection`, or with `?driver=sqlite3` a `sqlite3.Connection`, to the same file; on
        PostgreSQL a `psycopg.Connection`, or SQLAlchemy's `Connection` over one, to the same database. Raises TypeError
        for another kind.
        """
        return TransactionClient(self.store.over(connection), self._handle, self._group_handle, self.audit)

    async def get(self, id: Target) -> Result[TaskRecord, TaskNotFound]:
        """One task as it is stored."""
        return await self.store.read(verbs.get(id_of(id)))

    async def search(self, query: TaskQuery[X]) -> TaskPage:
        """One page of the tasks that match."""
        return await self.store.read(verbs.search(query))

    async def count(self, query: TaskQuery[X]) -> int:
        """How many tasks match."""
        return await self.store.read(verbs.count(query))

    async def history(self, id: Target) -> list[HistoryEvent]:
        """What happened to a task, oldest first, at the audit level chosen; empty for an unknown one."""
        return await self.store.read(lambda session: session.history(id_of(id)))

    async def explain(self, id: Target) -> Result[tuple[Gate, ...] | None, TaskNotFound]:
        """Why a task does not run now: every gate in its way, in order; None when a free slot is all that it needs."""
        return await self.store.read(partial(explain, id=id_of(id)))

    @overload
    async def wait(
        self, target: TaskHandle[R, E] | GroupHandle[R, E], *, timeout_seconds: float | None = None
    ) -> Outcome[R, E]: ...
    @overload
    async def wait(self, target: TaskId, *, timeout_seconds: float | None = None) -> Outcome[Any, Any]: ...
    async def wait(
        self, target: TaskHandle[Any, Any] | GroupHandle[Any, Any] | TaskId, *, timeout_seconds: float | None = None
    ) -> Outcome[Any, Any]:
        """The outcome of a task, once there is one; by id, results and errors are plain JSON values.

        Raises `TimeoutError` after `timeout_seconds`, and `TaskGone` when there is no such task (any more).
        """
        id = id_of(target)
        seconds = checked_timeout(timeout_seconds)
        record = await self._waits.until_ended(id, seconds)
        found = outcome_of(record, None) if isinstance(target, str) else target.outcome(record)
        return cast("Outcome[Any, Any]", found)

    async def pause_queue(self, name: str, *, reason: str = "") -> QueueSettings:
        """Let no task of the queue start, anywhere, once this returns; what runs goes on. Gives the queue's settings.

        Durable. Enqueueing goes on. A queue that is paused already stays paused since it was, for the new reason.
        """
        return await self.store.transact(queues.pause(name, reason))

    async def resume_queue(self, name: str) -> QueueSettings:
        """Let tasks of the queue start again; gives the queue's settings."""
        return await self.store.transact(queues.resume(name))

    async def set_queue(
        self,
        name: str,
        *,
        weight: int | Unset = UNSET,
        concurrency: int | Unset | None = UNSET,
        capacity: int | Unset | None = UNSET,
        when_full: WhenFull | Unset = UNSET,
        spill_to: str | Unset | None = UNSET,
    ) -> QueueSettings:
        """Change what is given of a queue's settings, of any name, and leave the rest; None takes a bound away.

        `weight`: its share of free slots beside other queues. `concurrency`: how many of its tasks run at once in the
        whole fleet. `capacity`: how many may wait in it; one too many is refused (`WhenFull.REJECT`), waits in its
        client (WAIT), or goes `spill_to` (SPILL). Raises `ConfigurationError` for what is out of range, and for a
        `spill_to` of a queue that is not to spill.
        """
        change = queues.change(
            name, weight=weight, concurrency=concurrency, capacity=capacity, when_full=when_full, spill_to=spill_to
        )
        return await self.store.transact(change)

    async def queues(self) -> list[QueueInfo]:
        """Every queue with settings or live tasks, by name. Counts these tasks: the more there are, the longer."""
        return await self.store.read(queues.queues)

    async def executors(self) -> list[ExecutorInfo]:
        """Who works on the store, the longest running first; the last sign of life of each says with what load."""
        return await self.store.read(executors)

    async def cancel(
        self, id: Target, *, reason: str = "", by: str = "", descendants: bool = False
    ) -> Result[CancelAccepted, CancelRefused]:
        """End a waiting, suspended or quarantined task now; ask a running one to stop, on whatever machine it runs.

        With `descendants` also all that its results have enqueued, and theirs, in the same transaction, even if the
        task itself has ended; what a running one of them still enqueues is cancelled as well. What an `on_outcome`
        enqueues is left to run, for it makes good what was broken off. History keeps the reason, and `by`: who asks.
        """
        reason, by = checked_reason(reason), who(by)
        return await self.store.transact(
            partial(operations.cancel, id=id_of(id), reason=reason, by=by, descendants=descendants)
        )

    @overload
    async def proceed(
        self,
        target: TaskQuery[X],
        *,
        modify: Callable[[X], X] | None = None,
        at: datetime | None = None,
        reason: str = "",
        by: str = "",
    ) -> Result[TaskRecord, ProceedRefused]: ...
    @overload
    async def proceed(
        self,
        target: Target,
        *,
        modify: Modify | None = None,
        at: datetime | None = None,
        reason: str = "",
        by: str = "",
    ) -> Result[TaskRecord, ProceedRefused]: ...
    async def proceed(
        self,
        target: Target | TaskQuery[Any],
        *,
        modify: Modify | None = None,
        at: datetime | None = None,
        reason: str = "",
        by: str = "",
    ) -> Result[TaskRecord, ProceedRefused]:
        """Let the one suspended task that is meant go on, now or from `at` on, past whatever wake-up it has.

        `modify` is a pure function from its execution metadata to the next; it may be called more than once, and what
        it gives is committed. By a query that knows its task, and by a handle, it takes and gives the task's own type,
        by a bare id JSON values. A query must match exactly one live task. History keeps reason and `by`: who asks.

        Without `modify`, a proceed of a live task that is not suspended is kept, at most one, and consumed by its next
        suspension. Refused when there is no such task, when there are several, in a wrong state, and when `modify`
        fails; then nothing was written. Raises `CommitUnknown` when the reply was lost: look at the task before you
        proceed it again.
        """
        return await take(self.store, Order.of(target, modify, at, reason=reason, by=by).steps())

    async def requeue(
        self,
        id: Target,
        *,
        from_start: bool = False,
        edit: Edit | None = None,
        reason: str = "",
        by: str = "",
        descendants: bool = False,
    ) -> Result[TaskRecord, RequeueRefused]:
        """Run a final or quarantined task again: from its last commit, same idempotency key, or from the start.

        From its last commit, it waits again for children that have not ended. With `descendants` whatever of these
        failed, was cancelled or quarantined runs again as well, in the same transaction, and who had waited for one of
        them waits again; it does not go with `from_start` or `edit`, of which this raises `ConfigurationError`.

        `edit` is a pure function of metadata and execution metadata that gives both anew, for this and every later
        start: of the task's types by a handle, JSON values by a bare id, so that it may repair what no task can read.
        Where it raises, or gives what cannot be stored, nothing is written (`ModificationFailed`). History keeps the
        reason, and `by`: who asks.
        """
        steps = bulk.requeue(id, from_start=from_start, edit=edit, reason=reason, by=by, descendants=descendants)
        return await take(self.store, steps)

    async def delete(self, id: Target, *, reason: str = "", by: str = "") -> Result[TaskRecord, DeleteRefused]:
        """Remove a task that does not run, with its history and logs; gives its last record.

        What is gone has no history: reason and `by`, who asks, go to the logger `milepost.client`.
        """
        return await take(self.store, bulk.delete(id_of(id), reason=reason, by=by))

    async def cancel_all(
        self, query: TaskQuery[Any], *, reason: str, by: str = "", everything: bool = False
    ) -> BulkSummary:
        """`cancel` for every task that matches when this begins, batch by batch, each in a transaction of its own.

        Preview it with `count`. What does not match any more when its batch comes is left alone. Raises
        `ConfigurationError` for a query without a condition, unless `everything` says that it is meant. After a
        `StoreError` what was done stays; ask again for the rest.
        """
        return await take(self.store, bulk.cancel_all(query, reason=reason, by=by, everything=everything))

    async def requeue_all(
        self,
        query: TaskQuery[X],
        *,
        from_start: bool = False,
        edit: Callable[[Any, X], tuple[Any, X]] | None = None,
        reason: str = "",
        by: str = "",
        everything: bool = False,
    ) -> BulkSummary:
        """`requeue` for every task that matches when this begins; as `cancel_all`.

        By a query that knows its task, `edit` takes and gives the task's own types.
        """
        steps = bulk.requeue_all(query, from_start=from_start, edit=edit, reason=reason, by=by, everything=everything)
        return await take(self.store, steps)

    async def delete_all(
        self, query: TaskQuery[Any], *, reason: str = "", by: str = "", everything: bool = False
    ) -> BulkSummary:
        """`delete` for every task that matches when this begins; as `cancel_all`."""
        return await take(self.store, bulk.delete_all(query, reason=reason, by=by, everything=everything))

    async def proceed_all(
        self,
        query: TaskQuery[X],
        *,
        modify: Callable[[X], X] | None = None,
        at: datetime | None = None,
        reason: str = "",
        by: str = "",
        everything: bool = False,
    ) -> BulkSummary:
        """`proceed` for every task that matches when this begins; as `cancel_all`. One that is not suspended keeps the
        proceed for its next suspension, so ask for suspended ones if you mean only those."""
        order = Order.of(query, modify, at, reason=reason, by=by)
        return await take(self.store, bulk.proceed_all(query, order, everything=everything))

    async def logs(self, id: Target, *, after: LogLine | None = None, limit: int | None = None) -> list[LogLine]:
        """What the runs of a task have logged by `execution.log`, oldest run first; empty for an unknown task.

        All of it, or up to `limit` lines from behind the line `after` on.
        """
        return await take(self.store, logs(id_of(id), after=after, limit=limit))

    async def prune(self, retention: Retention) -> PruneSummary:
        """Remove now what `retention` does not keep, batch by batch, each in a transaction of its own.

        Takes ended tasks only, and none that was requeued meanwhile; a running, waiting, suspended or quarantined task
        is never touched.
        """
        return await take(self.store, prune(retention))

    def _handle(self, answer: Enqueued, task: AnyTask) -> TaskHandle[Any, Any]:
        return TaskHandle(answer.id, answer.created, task, self)

    def _group_handle(self, head: Enqueued, made: TaskGroup) -> GroupHandle[Any, Any]:
        return group_handle(head, made, self)
