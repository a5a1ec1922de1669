"""The client for programs without trio: any thread, any framework. Same verbs, same types, the calls block."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, final, overload

from attrs import field, frozen
from returns.result import Failure, Result, Success
from typing_extensions import TypeVar as DefaultTypeVar

from milepost.client import bulk, queues, verbs
from milepost.client.blocking_within import BlockingTransactionClient
from milepost.client.bulk import BulkSummary
from milepost.client.checks import checked_reason, checked_timeout, who
from milepost.client.editing import Edit
from milepost.client.executors import ExecutorInfo, executors
from milepost.client.groups import BlockingGroupHandle, BlockingGroupVerbs, blocking_group_handle
from milepost.client.logs import logs
from milepost.client.proceeding import Modify, Order
from milepost.client.pruning import prune
from milepost.client.query import TaskPage, TaskQuery
from milepost.client.queues import QueueInfo
from milepost.client.room import stored_blocking
from milepost.client.scheduling import BlockingScheduleVerbs
from milepost.client.sending import BlockingEventVerbs
from milepost.client.steps import take_blocking
from milepost.client.targets import Target, gone, id_of
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
from milepost.stores.open import connect_store
from milepost.stores.protocol import Hint, Store, checked_store
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

_POLL_SECONDS = 1.0


@final
@frozen(eq=False)
class BlockingTaskHandle(Generic[R_co, E_co]):
    """An enqueued task, for a program without trio; `created` as of `TaskHandle`."""

    id: TaskId
    created: bool
    task: AnyTask = field(repr=False)
    _client: BlockingClient = field(repr=False)

    def wait(self, timeout_seconds: float | None = None) -> Outcome[R_co, E_co]:
        """The outcome, once there is one. Raises `TimeoutError`, and `TaskGone` when the task was deleted."""
        return self._client.wait(self, timeout_seconds=timeout_seconds)

    def outcome(self, record: TaskRecord) -> Outcome[R_co, E_co] | None:
        """The typed outcome of a record of this task; None before its end."""
        return outcome_of(record, self.task)


@final
@frozen(eq=False)
class BlockingClient(BlockingGroupVerbs, BlockingScheduleVerbs, BlockingEventVerbs):
    """Asks a store from any thread; `Client` says what each verb does.

    Made over a store that is open already, or by `connect`, which opens one: a context manager that closes it.
    """

    store: Store
    audit: Audit = Audit.TRANSITIONS

    def __attrs_post_init__(self) -> None:
        checked_store(self.store)

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

    def enqueue(
        self, request: TaskRequest[M, X, R, E], *, timeout_seconds: float | None = None
    ) -> BlockingTaskHandle[R, E]:
        """Store one task; durable when this returns. Raises `EnqueueRefused`; waits for room as `Client.enqueue`."""
        return verbs.or_raise(self.try_enqueue(request, timeout_seconds=timeout_seconds))

    def enqueue_all(
        self, requests: Iterable[TaskRequest[M, X, R, E]], *, timeout_seconds: float | None = None
    ) -> list[BlockingTaskHandle[R, E]]:
        """Store tasks in one transaction, all or none. Raises `EnqueueRefused`."""
        return verbs.or_raise(self.try_enqueue_all(requests, timeout_seconds=timeout_seconds))

    def try_enqueue(
        self, request: TaskRequest[M, X, R, E], *, timeout_seconds: float | None = None
    ) -> Result[BlockingTaskHandle[R, E], EnqueueRefusal]:
        """`enqueue` with its refusal as a value."""
        answer = self.try_enqueue_all([request], timeout_seconds=timeout_seconds)
        return answer.map(lambda handles: handles[0])

    def try_enqueue_all(
        self, requests: Iterable[TaskRequest[M, X, R, E]], *, timeout_seconds: float | None = None
    ) -> Result[list[BlockingTaskHandle[R, E]], EnqueueRefusal]:
        """`enqueue_all` with its refusal as a value."""
        kept = verbs.several(requests)
        drafts = verbs.drafts_of(kept, self.audit)
        if not isinstance(drafts, Success):
            return Failure(drafts.failure())
        answers = stored_blocking(self.store, drafts.unwrap(), timeout_seconds)
        if not isinstance(answers, Success):
            return Failure(answers.failure())
        return Success([self._handle(a, r.task) for a, r in zip(answers.unwrap(), kept, strict=True)])

    def within(self, connection: Any) -> BlockingTransactionClient:
        """The verbs that change one task inside your own open transaction on `connection`; as `Client.within`."""
        session = self.store.over(connection)
        return BlockingTransactionClient(session, self._handle, self._group_handle, self.audit)

    def get(self, id: Target) -> Result[TaskRecord, TaskNotFound]:
        """One task as it is stored."""
        return self.store.read_blocking(verbs.get(id_of(id)))

    def search(self, query: TaskQuery[X]) -> TaskPage:
        """One page of the tasks that match."""
        return self.store.read_blocking(verbs.search(query))

    def count(self, query: TaskQuery[X]) -> int:
        """How many tasks match."""
        return self.store.read_blocking(verbs.count(query))

    def history(self, id: Target) -> list[HistoryEvent]:
        """What happened to a task, oldest first."""
        return self.store.read_blocking(lambda session: session.history(id_of(id)))

    def explain(self, id: Target) -> Result[tuple[Gate, ...] | None, TaskNotFound]:
        """Why a task does not run now, gate by gate; as `Client.explain`."""
        return self.store.read_blocking(partial(explain, id=id_of(id)))

    @overload
    def wait(
        self, target: BlockingTaskHandle[R, E] | BlockingGroupHandle[R, E], *, timeout_seconds: float | None = None
    ) -> Outcome[R, E]: ...
    @overload
    def wait(self, target: TaskId, *, timeout_seconds: float | None = None) -> Outcome[Any, Any]: ...
    def wait(
        self,
        target: BlockingTaskHandle[Any, Any] | BlockingGroupHandle[Any, Any] | TaskId,
        *,
        timeout_seconds: float | None = None,
    ) -> Outcome[Any, Any]:
        """The outcome of a task, once there is one; as `Client.wait`."""
        id = id_of(target)
        seconds = checked_timeout(timeout_seconds)
        give_up_at = time.monotonic() + seconds
        watch = self.store.watch(Hint.FINAL)
        try:
            while True:
                found = self.get(id)
                if not isinstance(found, Success):
                    raise gone(id)
                record = found.unwrap()
                ended = outcome_of(record, None) if isinstance(target, str) else target.outcome(record)
                if ended is not None:
                    return ended
                left = give_up_at - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"the task {id} has not ended within {timeout_seconds} seconds")
                watch.wait_blocking(min(left, _POLL_SECONDS))
        finally:
            watch.close()

    def pause_queue(self, name: str, *, reason: str = "") -> QueueSettings:
        """Let no task of the queue start once this returns; as `Client.pause_queue`."""
        return self.store.transact_blocking(queues.pause(name, reason))

    def resume_queue(self, name: str) -> QueueSettings:
        """Let tasks of the queue start again; as `Client.resume_queue`."""
        return self.store.transact_blocking(queues.resume(name))

    def set_queue(
        self,
        name: str,
        *,
        weight: int | Unset = UNSET,
        concurrency: int | Unset | None = UNSET,
        capacity: int | Unset | None = UNSET,
        when_full: WhenFull | Unset = UNSET,
        spill_to: str | Unset | None = UNSET,
    ) -> QueueSettings:
        """Change what is given of a queue's settings; as `Client.set_queue`."""
        change = queues.change(
            name, weight=weight, concurrency=concurrency, capacity=capacity, when_full=when_full, spill_to=spill_to
        )
        return self.store.transact_blocking(change)

    def queues(self) -> list[QueueInfo]:
        """Every queue with settings or live tasks; as `Client.queues`."""
        return self.store.read_blocking(queues.queues)

    def executors(self) -> list[ExecutorInfo]:
        """Who works on the store, the longest running first; as `Client.executors`."""
        return self.store.read_blocking(executors)

    def cancel(
        self, id: Target, *, reason: str = "", by: str = "", descendants: bool = False
    ) -> Result[CancelAccepted, CancelRefused]:
        """End a task, or ask a running one to stop, if so asked with its descendants; as `Client.cancel`."""
        reason, by = checked_reason(reason), who(by)
        return self.store.transact_blocking(
            partial(operations.cancel, id=id_of(id), reason=reason, by=by, descendants=descendants)
        )

    @overload
    def proceed(
        self,
        target: TaskQuery[X],
        *,
        modify: Callable[[X], X] | None = None,
        at: datetime | None = None,
        reason: str = "",
        by: str = "",
    ) -> Result[TaskRecord, ProceedRefused]: ...
    @overload
    def proceed(
        self,
        target: Target,
        *,
        modify: Modify | None = None,
        at: datetime | None = None,
        reason: str = "",
        by: str = "",
    ) -> Result[TaskRecord, ProceedRefused]: ...
    def proceed(
        self,
        target: Target | TaskQuery[Any],
        *,
        modify: Modify | None = None,
        at: datetime | None = None,
        reason: str = "",
        by: str = "",
    ) -> Result[TaskRecord, ProceedRefused]:
        """Let the one suspended task that is meant go on; as `Client.proceed`."""
        return take_blocking(self.store, Order.of(target, modify, at, reason=reason, by=by).steps())

    def requeue(
        self,
        id: Target,
        *,
        from_start: bool = False,
        edit: Edit | None = None,
        reason: str = "",
        by: str = "",
        descendants: bool = False,
    ) -> Result[TaskRecord, RequeueRefused]:
        """Run a final or quarantined task again, if so asked with its descendants; as `Client.requeue`."""
        steps = bulk.requeue(id, from_start=from_start, edit=edit, reason=reason, by=by, descendants=descendants)
        return take_blocking(self.store, steps)

    def delete(self, id: Target, *, reason: str = "", by: str = "") -> Result[TaskRecord, DeleteRefused]:
        """Remove a task that does not run; as `Client.delete`."""
        return take_blocking(self.store, bulk.delete(id_of(id), reason=reason, by=by))

    def cancel_all(self, query: TaskQuery[Any], *, reason: str, by: str = "", everything: bool = False) -> BulkSummary:
        """End every task that matches; as `Client.cancel_all`."""
        return take_blocking(self.store, bulk.cancel_all(query, reason=reason, by=by, everything=everything))

    def requeue_all(
        self,
        query: TaskQuery[X],
        *,
        from_start: bool = False,
        edit: Callable[[Any, X], tuple[Any, X]] | None = None,
        reason: str = "",
        by: str = "",
        everything: bool = False,
    ) -> BulkSummary:
        """Run every task that matches again; as `Client.requeue_all`."""
        steps = bulk.requeue_all(query, from_start=from_start, edit=edit, reason=reason, by=by, everything=everything)
        return take_blocking(self.store, steps)

    def delete_all(
        self, query: TaskQuery[Any], *, reason: str = "", by: str = "", everything: bool = False
    ) -> BulkSummary:
        """Remove every task that matches; as `Client.delete_all`."""
        return take_blocking(self.store, bulk.delete_all(query, reason=reason, by=by, everything=everything))

    def proceed_all(
        self,
        query: TaskQuery[X],
        *,
        modify: Callable[[X], X] | None = None,
        at: datetime | None = None,
        reason: str = "",
        by: str = "",
        everything: bool = False,
    ) -> BulkSummary:
        """Let every task that matches go on; as `Client.proceed_all`."""
        order = Order.of(query, modify, at, reason=reason, by=by)
        return take_blocking(self.store, bulk.proceed_all(query, order, everything=everything))

    def logs(self, id: Target, *, after: LogLine | None = None, limit: int | None = None) -> list[LogLine]:
        """What the runs of a task have logged; as `Client.logs`."""
        return take_blocking(self.store, logs(id_of(id), after=after, limit=limit))

    def prune(self, retention: Retention) -> PruneSummary:
        """Remove now what `retention` does not keep; as `Client.prune`."""
        return take_blocking(self.store, prune(retention))

    def _handle(self, answer: Enqueued, task: AnyTask) -> BlockingTaskHandle[Any, Any]:
        return BlockingTaskHandle(answer.id, answer.created, task, self)

    def _group_handle(self, head: Enqueued, made: TaskGroup) -> BlockingGroupHandle[Any, Any]:
        return blocking_group_handle(head, made, self)
