"""The verbs of a client inside a caller's own open transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, final, overload

from attrs import frozen
from returns.result import Result

from milepost.client import verbs
from milepost.client.checks import checked_reason, who
from milepost.client.groups import insert_group
from milepost.client.proceeding import Modify, Order
from milepost.client.query import TaskQuery
from milepost.client.sending import KEPT, Sending
from milepost.client.targets import Target, id_of
from milepost.lifecycle.children import ChildCount
from milepost.lifecycle.record import Audit, TaskRecord
from milepost.lifecycle.refusals import CancelAccepted, CancelRefused, EnqueueRefusal, ProceedRefused
from milepost.lifecycle.ties import Join
from milepost.stores import operations
from milepost.stores.enqueueing import Enqueued
from milepost.stores.events import SentTo
from milepost.stores.protocol import Session
from milepost.tasks import AnyTask, TaskRequest
from milepost.tasks.group import AnyRequest, GroupMember, TaskGroup, group
from milepost.tasks.named_event import NamedEvent

if TYPE_CHECKING:
    from milepost.client.client import TaskHandle
    from milepost.client.groups import GroupHandle

M = TypeVar("M")
X = TypeVar("X")
R = TypeVar("R")
E = TypeVar("E")
P = TypeVar("P")


@frozen(eq=False)
class TransactionVerbs:
    """What both transaction clients do alike: all but what gives handles."""

    _session: Session

    def cancel(
        self, id: Target, *, reason: str = "", by: str = "", descendants: bool = False
    ) -> Result[CancelAccepted, CancelRefused]:
        """End a task, or ask a running one to stop, if so asked with its descendants, with your commit."""
        reason, by = checked_reason(reason), who(by)
        return operations.cancel(self._session, id_of(id), reason, by, descendants=descendants)

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

    @overload
    def send_event(
        self, event: NamedEvent[P], key: str, payload: P, *, id: str | None = None, keep: timedelta = KEPT
    ) -> SentTo: ...
    @overload
    def send_event(
        self, event: str, key: str, payload: object, *, id: str | None = None, keep: timedelta = KEPT
    ) -> SentTo: ...
    def send_event(
        self,
        event: NamedEvent[Any] | str,
        key: str,
        payload: object,
        *,
        id: str | None = None,
        keep: timedelta = KEPT,
    ) -> SentTo:
        """Let every task go on that waits for this event, with your commit; as `Client.send_event`.

        Until then others who send it, or begin to wait for it, wait for you.
        """
        return Sending.of(event, key, payload, id, keep).within(self._session)


@final
@frozen(eq=False)
class TransactionClient(TransactionVerbs):
    """The verbs that change one task, over the caller's connection: rolled back means never done.

    Synchronous, for they run on that connection, in its thread. A handle may be waited for after the commit.
    """

    _handle: Callable[[Enqueued, AnyTask], TaskHandle[Any, Any]]
    _group_handle: Callable[[Enqueued, TaskGroup], GroupHandle[Any, Any]]
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

    @overload
    def enqueue_group(
        self,
        requests: Iterable[GroupMember],
        then: TaskRequest[Any, Any, R, E],
        on: Join = Join.ALL_SUCCEEDED,
        *,
        fail_fast: bool = False,
    ) -> GroupHandle[R, E]: ...
    @overload
    def enqueue_group(
        self,
        requests: Iterable[GroupMember],
        then: None = None,
        on: Join = Join.ALL_SUCCEEDED,
        *,
        fail_fast: bool = False,
    ) -> GroupHandle[ChildCount, ChildCount]: ...
    def enqueue_group(
        self,
        requests: Iterable[GroupMember],
        then: AnyRequest | None = None,
        on: Join = Join.ALL_SUCCEEDED,
        *,
        fail_fast: bool = False,
    ) -> GroupHandle[Any, Any]:
        """Insert a group of requests, all or none; as `Client.enqueue_group`. Raises `EnqueueRefused`."""
        made = group(requests, then=then, on=on, fail_fast=fail_fast)
        return self._group_handle(insert_group(self._session, made, self._audit), made)
