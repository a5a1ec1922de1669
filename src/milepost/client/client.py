"""The trio client: enqueue, look, wait and steer. A thin shell: each verb is one function of a session."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar, cast, final, overload

from attrs import field, frozen
from returns.result import Failure, Result, Success
from typing_extensions import TypeVar as DefaultTypeVar

from milepost.client import verbs
from milepost.client.executors import ExecutorInfo, executors
from milepost.client.outcomes import outcome_of
from milepost.client.query import TaskPage, TaskQuery
from milepost.client.waiting import Waits
from milepost.errors import CommitUnknown, StoreError
from milepost.lifecycle.draft import Draft
from milepost.lifecycle.record import Audit, HistoryEvent, TaskId, TaskRecord
from milepost.lifecycle.refusals import (
    CancelAccepted,
    CancelRefused,
    DeleteRefused,
    EnqueueRefusal,
    RequeueRefused,
    TaskNotFound,
)
from milepost.payload import storable_text
from milepost.results import Outcome
from milepost.stores import operations
from milepost.stores.operations import Enqueued
from milepost.stores.protocol import Session, Store
from milepost.tasks import AnyTask, TaskRequest

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
    _task: AnyTask = field(repr=False)
    _client: Client = field(repr=False)

    async def wait(self, timeout_seconds: float | None = None) -> Outcome[R_co, E_co]:
        """The outcome, once there is one. Raises `TimeoutError`, and `TaskGone` when the task was deleted."""
        return await self._client.wait(self, timeout_seconds=timeout_seconds)

    def outcome(self, record: TaskRecord) -> Outcome[R_co, E_co] | None:
        """The typed outcome of a record of this task; None before its end."""
        return outcome_of(record, self._task)


@final
@frozen(eq=False)
class Client:
    """Asks a store from trio. Expected refusals are `returns` values, faults of the store are `StoreError`s.

    `audit` is how much history is kept of tasks that neither their definition nor their request decides on.
    """

    store: Store
    audit: Audit = Audit.TRANSITIONS
    _waits: Waits = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_waits", Waits(self.store))

    async def enqueue(self, request: TaskRequest[M, X, R, E]) -> TaskHandle[R, E]:
        """Store one task; durable when this returns. Raises `EnqueueRefused`; costs one commit."""
        return verbs.or_raise(await self.try_enqueue(request))

    async def enqueue_all(self, requests: Iterable[TaskRequest[M, X, R, E]]) -> list[TaskHandle[R, E]]:
        """Store tasks in one transaction, all or none. Raises `EnqueueRefused`."""
        return verbs.or_raise(await self.try_enqueue_all(requests))

    async def try_enqueue(self, request: TaskRequest[M, X, R, E]) -> Result[TaskHandle[R, E], EnqueueRefusal]:
        """`enqueue` with its refusal as a value."""
        return (await self.try_enqueue_all([request])).map(lambda handles: handles[0])

    async def try_enqueue_all(
        self, requests: Iterable[TaskRequest[M, X, R, E]]
    ) -> Result[list[TaskHandle[R, E]], EnqueueRefusal]:
        """`enqueue_all` with its refusal as a value."""
        kept = list(requests)
        drafts = verbs.drafts_of(kept, self.audit)
        if not isinstance(drafts, Success):
            return Failure(drafts.failure())
        answers = await self._enqueue(drafts.unwrap())
        if not isinstance(answers, Success):
            return Failure(answers.failure())
        return Success([self._handle(a, r.task) for a, r in zip(answers.unwrap(), kept, strict=True)])

    def within(self, connection: Any) -> TransactionClient:
        """The inserting verbs inside your own open transaction on `connection`, which you commit or roll back.

        On SQLite an `apsw.Connection`, or with `?driver=sqlite3` a `sqlite3.Connection`, to the same file; on
        PostgreSQL a `psycopg.Connection`, or SQLAlchemy's `Connection` over one, to the same database. Raises TypeError
        for another kind.
        """
        return TransactionClient(self.store.over(connection), self._handle, self.audit)

    async def get(self, id: TaskId) -> Result[TaskRecord, TaskNotFound]:
        """One task as it is stored."""
        return await self.store.read(verbs.get(id))

    async def search(self, query: TaskQuery[X]) -> TaskPage:
        """One page of the tasks that match."""
        return await self.store.read(verbs.search(query))

    async def count(self, query: TaskQuery[X]) -> int:
        """How many tasks match."""
        return await self.store.read(lambda session: session.count(query.filter))

    async def history(self, id: TaskId) -> list[HistoryEvent]:
        """What happened to a task, oldest first, at the audit level chosen; empty for an unknown one."""
        return await self.store.read(lambda session: session.history(id))

    @overload
    async def wait(self, target: TaskHandle[R, E], *, timeout_seconds: float | None = None) -> Outcome[R, E]: ...
    @overload
    async def wait(self, target: TaskId, *, timeout_seconds: float | None = None) -> Outcome[Any, Any]: ...
    async def wait(
        self, target: TaskHandle[Any, Any] | TaskId, *, timeout_seconds: float | None = None
    ) -> Outcome[Any, Any]:
        """The outcome of a task, once there is one; by id, results and errors are plain JSON values.

        Raises `TimeoutError` after `timeout_seconds`, and `TaskGone` when there is no such task (any more).
        """
        id = target.id if isinstance(target, TaskHandle) else target
        seconds = float("inf") if timeout_seconds is None else timeout_seconds
        record = await self._waits.until_ended(id, seconds)
        found = target.outcome(record) if isinstance(target, TaskHandle) else outcome_of(record, None)
        return cast("Outcome[Any, Any]", found)

    async def executors(self) -> list[ExecutorInfo]:
        """Who works on the store, the longest running first; the last sign of life of each says with what load."""
        return await self.store.read(executors)

    async def cancel(self, id: TaskId, *, reason: str = "") -> Result[CancelAccepted, CancelRefused]:
        """End a waiting, suspended or quarantined task now; ask a running one to stop, on whatever machine it runs."""
        return await self.store.transact(partial(operations.cancel, id=id, reason=storable_text(reason)))

    async def requeue(self, id: TaskId, *, from_start: bool = False) -> Result[TaskRecord, RequeueRefused]:
        """Run a final or quarantined task again: from its last commit, same idempotency key, or from the start."""
        return await self.store.transact(partial(operations.requeue, id=id, from_start=from_start))

    async def delete(self, id: TaskId) -> Result[TaskRecord, DeleteRefused]:
        """Remove a task that does not run, with its history; gives its last record."""
        return await self.store.transact(partial(operations.delete, id=id))

    async def _enqueue(self, drafts: Sequence[Draft]) -> verbs.EnqueueAnswer:
        try:
            return await self.store.transact(verbs.enqueue(drafts))
        except CommitUnknown as unknown:
            try:
                return await self.store.transact(verbs.enqueue_again(drafts))
            except StoreError as fault:
                raise unknown from fault

    def _handle(self, answer: Enqueued, task: AnyTask) -> TaskHandle[Any, Any]:
        return TaskHandle(answer.id, answer.created, task, self)


@final
@frozen(eq=False)
class TransactionClient:
    """The inserting verbs over the caller's connection: rolled back means never enqueued.

    Synchronous, for they run on that connection, in its thread. A handle may be waited for after the commit.
    """

    _session: Session
    _handle: Callable[[Enqueued, AnyTask], TaskHandle[Any, Any]]
    _audit: Audit

    def enqueue(self, request: TaskRequest[M, X, R, E]) -> TaskHandle[R, E]:
        """Insert one task; raises `EnqueueRefused`."""
        return verbs.or_raise(self.try_enqueue(request))

    def enqueue_all(self, requests: Iterable[TaskRequest[M, X, R, E]]) -> list[TaskHandle[R, E]]:
        """Insert tasks, all or none; raises `EnqueueRefused`."""
        return verbs.or_raise(self.try_enqueue_all(requests))

    def try_enqueue(self, request: TaskRequest[M, X, R, E]) -> Result[TaskHandle[R, E], EnqueueRefusal]:
        """Insert one task, or say why not."""
        return self.try_enqueue_all([request]).map(lambda handles: handles[0])

    def try_enqueue_all(
        self, requests: Iterable[TaskRequest[M, X, R, E]]
    ) -> Result[list[TaskHandle[R, E]], EnqueueRefusal]:
        """Insert tasks, all or none, or say why not."""
        kept = list(requests)
        return verbs.insert(self._session, kept, self._audit).map(
            lambda answers: [self._handle(a, r.task) for a, r in zip(answers, kept, strict=True)]
        )
