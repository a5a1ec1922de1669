"""The verbs of a client inside a caller's own open transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, final, overload

from attrs import frozen
from returns.result import Result

from milepost.client import verbs
from milepost.client.checks import checked_reason, who
from milepost.client.proceeding import Modify, Order
from milepost.client.query import TaskQuery
from milepost.client.targets import Target, id_of
from milepost.lifecycle.record import Audit, TaskRecord
from milepost.lifecycle.refusals import CancelAccepted, CancelRefused, EnqueueRefusal, ProceedRefused
from milepost.stores import operations
from milepost.stores.operations import Enqueued
from milepost.stores.protocol import Session
from milepost.tasks import AnyTask, TaskRequest

if TYPE_CHECKING:
    from milepost.client.client import TaskHandle

M = TypeVar("M")
X = TypeVar("X")
R = TypeVar("R")
E = TypeVar("E")


@frozen(eq=False)
class TransactionVerbs:
    """What both transaction clients do alike: all but what gives handles."""

    _session: Session

    def cancel(self, id: Target, *, reason: str = "", by: str = "") -> Result[CancelAccepted, CancelRefused]:
        """End a task, or ask a running one to stop, with your commit."""
        return operations.cancel(self._session, id_of(id), checked_reason(reason), who(by))

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
        """Let the one suspended task that is meant go on, with your commit; as `Client.proceed`."""
        return Order.of(target, modify, at, reason=reason, by=by).within(self._session)


@final
@frozen(eq=False)
class TransactionClient(TransactionVerbs):
    """The verbs that change one task, over the caller's connection: rolled back means never done.

    Synchronous, for they run on that connection, in its thread. A handle may be waited for after the commit.
    """

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
        kept = verbs.several(requests)
        return verbs.insert(self._session, kept, self._audit).map(
            lambda answers: [self._handle(a, r.task) for a, r in zip(answers, kept, strict=True)]
        )
