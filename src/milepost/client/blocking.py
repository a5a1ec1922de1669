"""The client for programs without trio: any thread, any framework. Same verbs, same types, the calls block."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, final, overload

from attrs import field, frozen
from returns.result import Failure, Result, Success
from typing_extensions import TypeVar as DefaultTypeVar

from milepost.client import verbs
from milepost.client.executors import ExecutorInfo, executors
from milepost.client.outcomes import outcome_of
from milepost.client.query import TaskPage, TaskQuery
from milepost.errors import CommitUnknown, StoreError, TaskGone
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
from milepost.stores.open import connect_store
from milepost.stores.operations import Enqueued
from milepost.stores.protocol import Hint, Session, Store
from milepost.tasks import AnyTask, TaskRequest

M = TypeVar("M")
X = TypeVar("X")
R = TypeVar("R")
E = TypeVar("E")
R_co = DefaultTypeVar("R_co", covariant=True, default=Any)
E_co = DefaultTypeVar("E_co", covariant=True, default=Any)

_POLL_SECONDS = 1.0


@final
@frozen(eq=False)
class BlockingTaskHandle(Generic[R_co, E_co]):
    """An enqueued task, for a program without trio; `created` as of `TaskHandle`."""

    id: TaskId
    created: bool
    _task: AnyTask = field(repr=False)
    _client: BlockingClient = field(repr=False)

    def wait(self, timeout_seconds: float | None = None) -> Outcome[R_co, E_co]:
        """The outcome, once there is one. Raises `TimeoutError`, and `TaskGone` when the task was deleted."""
        return self._client.wait(self, timeout_seconds=timeout_seconds)

    def outcome(self, record: TaskRecord) -> Outcome[R_co, E_co] | None:
        """The typed outcome of a record of this task; None before its end."""
        return outcome_of(record, self._task)


@final
@frozen(eq=False)
class BlockingClient:
    """Asks a store from any thread; `Client` says what each verb does.

    Made over a store that is open already, or by `connect`, which opens one: a context manager that closes it.
    """

    store: Store
    audit: Audit = Audit.TRANSITIONS

    @classmethod
    def connect(cls, url: str, *, migrate: bool = True) -> Self:
        """Open the store at `url`; close it with `close()` or by leaving a `with` block. Raises `StoreError`."""
        return cls(connect_store(url, migrate=migrate))

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def enqueue(self, request: TaskRequest[M, X, R, E]) -> BlockingTaskHandle[R, E]:
        """Store one task; durable when this returns. Raises `EnqueueRefused`."""
        return verbs.or_raise(self.try_enqueue(request))

    def enqueue_all(self, requests: Iterable[TaskRequest[M, X, R, E]]) -> list[BlockingTaskHandle[R, E]]:
        """Store tasks in one transaction, all or none. Raises `EnqueueRefused`."""
        return verbs.or_raise(self.try_enqueue_all(requests))

    def try_enqueue(self, request: TaskRequest[M, X, R, E]) -> Result[BlockingTaskHandle[R, E], EnqueueRefusal]:
        """`enqueue` with its refusal as a value."""
        return self.try_enqueue_all([request]).map(lambda handles: handles[0])

    def try_enqueue_all(
        self, requests: Iterable[TaskRequest[M, X, R, E]]
    ) -> Result[list[BlockingTaskHandle[R, E]], EnqueueRefusal]:
        """`enqueue_all` with its refusal as a value."""
        kept = list(requests)
        drafts = verbs.drafts_of(kept, self.audit)
        if not isinstance(drafts, Success):
            return Failure(drafts.failure())
        answers = self._enqueue(drafts.unwrap())
        if not isinstance(answers, Success):
            return Failure(answers.failure())
        return Success([self._handle(a, r.task) for a, r in zip(answers.unwrap(), kept, strict=True)])

    def within(self, connection: Any) -> BlockingTransactionClient:
        """The inserting verbs inside your own open transaction on `connection`; as `Client.within`."""
        return BlockingTransactionClient(self.store.over(connection), self._handle, self.audit)

    def get(self, id: TaskId) -> Result[TaskRecord, TaskNotFound]:
        """One task as it is stored."""
        return self.store.read_blocking(verbs.get(id))

    def search(self, query: TaskQuery[X]) -> TaskPage:
        """One page of the tasks that match."""
        return self.store.read_blocking(verbs.search(query))

    def count(self, query: TaskQuery[X]) -> int:
        """How many tasks match."""
        return self.store.read_blocking(lambda session: session.count(query.filter))

    def history(self, id: TaskId) -> list[HistoryEvent]:
        """What happened to a task, oldest first."""
        return self.store.read_blocking(lambda session: session.history(id))

    @overload
    def wait(self, target: BlockingTaskHandle[R, E], *, timeout_seconds: float | None = None) -> Outcome[R, E]: ...
    @overload
    def wait(self, target: TaskId, *, timeout_seconds: float | None = None) -> Outcome[Any, Any]: ...
    def wait(
        self, target: BlockingTaskHandle[Any, Any] | TaskId, *, timeout_seconds: float | None = None
    ) -> Outcome[Any, Any]:
        """The outcome of a task, once there is one; as `Client.wait`."""
        id = target.id if isinstance(target, BlockingTaskHandle) else target
        seconds = float("inf") if timeout_seconds is None else timeout_seconds
        give_up_at = time.monotonic() + seconds
        watch = self.store.watch(Hint.FINAL)
        try:
            while True:
                found = self.get(id)
                if not isinstance(found, Success):
                    raise TaskGone(f"there is no task {id} any more")
                record = found.unwrap()
                ended = target.outcome(record) if isinstance(target, BlockingTaskHandle) else outcome_of(record, None)
                if ended is not None:
                    return ended
                left = give_up_at - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"the task {id} has not ended within {timeout_seconds} seconds")
                watch.wait_blocking(min(left, _POLL_SECONDS))
        finally:
            watch.close()

    def executors(self) -> list[ExecutorInfo]:
        """Who works on the store, the longest running first; as `Client.executors`."""
        return self.store.read_blocking(executors)

    def cancel(self, id: TaskId, *, reason: str = "") -> Result[CancelAccepted, CancelRefused]:
        """End a task, or ask a running one to stop; as `Client.cancel`."""
        return self.store.transact_blocking(partial(operations.cancel, id=id, reason=storable_text(reason)))

    def requeue(self, id: TaskId, *, from_start: bool = False) -> Result[TaskRecord, RequeueRefused]:
        """Run a final or quarantined task again; as `Client.requeue`."""
        return self.store.transact_blocking(partial(operations.requeue, id=id, from_start=from_start))

    def delete(self, id: TaskId) -> Result[TaskRecord, DeleteRefused]:
        """Remove a task that does not run; as `Client.delete`."""
        return self.store.transact_blocking(partial(operations.delete, id=id))

    def _enqueue(self, drafts: Sequence[Draft]) -> verbs.EnqueueAnswer:
        try:
            return self.store.transact_blocking(verbs.enqueue(drafts))
        except CommitUnknown as unknown:
            try:
                return self.store.transact_blocking(verbs.enqueue_again(drafts))
            except StoreError as fault:
                raise unknown from fault

    def _handle(self, answer: Enqueued, task: AnyTask) -> BlockingTaskHandle[Any, Any]:
        return BlockingTaskHandle(answer.id, answer.created, task, self)


@final
@frozen(eq=False)
class BlockingTransactionClient:
    """The inserting verbs over the caller's connection: rolled back means never enqueued.

    Synchronous, for they run on that connection, in its thread. A handle may be waited for after the commit.
    """

    _session: Session
    _handle: Callable[[Enqueued, AnyTask], BlockingTaskHandle[Any, Any]]
    _audit: Audit

    def enqueue(self, request: TaskRequest[M, X, R, E]) -> BlockingTaskHandle[R, E]:
        """Insert one task; raises `EnqueueRefused`."""
        return verbs.or_raise(self.try_enqueue(request))

    def enqueue_all(self, requests: Iterable[TaskRequest[M, X, R, E]]) -> list[BlockingTaskHandle[R, E]]:
        """Insert tasks, all or none; raises `EnqueueRefused`."""
        return verbs.or_raise(self.try_enqueue_all(requests))

    def try_enqueue(self, request: TaskRequest[M, X, R, E]) -> Result[BlockingTaskHandle[R, E], EnqueueRefusal]:
        """Insert one task, or say why not."""
        return self.try_enqueue_all([request]).map(lambda handles: handles[0])

    def try_enqueue_all(
        self, requests: Iterable[TaskRequest[M, X, R, E]]
    ) -> Result[list[BlockingTaskHandle[R, E]], EnqueueRefusal]:
        """Insert tasks, all or none, or say why not."""
        kept = list(requests)
        return verbs.insert(self._session, kept, self._audit).map(
            lambda answers: [self._handle(a, r.task) for a, r in zip(answers, kept, strict=True)]
        )
