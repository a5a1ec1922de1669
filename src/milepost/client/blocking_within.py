"""The verbs of the blocking client inside a caller's own open transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, final, overload

from attrs import frozen
from returns.result import Result

from milepost.client import verbs
from milepost.client.groups import insert_group
from milepost.client.within import TransactionVerbs
from milepost.lifecycle.children import ChildCount
from milepost.lifecycle.record import Audit
from milepost.lifecycle.refusals import EnqueueRefusal
from milepost.lifecycle.ties import Join
from milepost.stores.enqueueing import Enqueued
from milepost.tasks import AnyTask, TaskRequest
from milepost.tasks.group import AnyRequest, GroupMember, TaskGroup, group

if TYPE_CHECKING:
    from milepost.client.blocking import BlockingTaskHandle
    from milepost.client.groups import BlockingGroupHandle

M = TypeVar("M")
X = TypeVar("X")
R = TypeVar("R")
E = TypeVar("E")


@final
@frozen(eq=False)
class BlockingTransactionClient(TransactionVerbs):
    """The verbs that change one task, over the caller's connection: rolled back means never done.

    Synchronous, for they run on that connection, in its thread. A handle may be waited for after the commit.
    """

    _handle: Callable[[Enqueued, AnyTask], BlockingTaskHandle[Any, Any]]
    _group_handle: Callable[[Enqueued, TaskGroup], BlockingGroupHandle[Any, Any]]
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
    ) -> BlockingGroupHandle[R, E]: ...
    @overload
    def enqueue_group(
        self,
        requests: Iterable[GroupMember],
        then: None = None,
        on: Join = Join.ALL_SUCCEEDED,
        *,
        fail_fast: bool = False,
    ) -> BlockingGroupHandle[ChildCount, ChildCount]: ...
    def enqueue_group(
        self,
        requests: Iterable[GroupMember],
        then: AnyRequest | None = None,
        on: Join = Join.ALL_SUCCEEDED,
        *,
        fail_fast: bool = False,
    ) -> BlockingGroupHandle[Any, Any]:
        """Insert a group of requests, all or none; as `Client.enqueue_group`. Raises `EnqueueRefused`."""
        made = group(requests, then=then, on=on, fail_fast=fail_fast)
        return self._group_handle(insert_group(self._session, made, self._audit), made)
