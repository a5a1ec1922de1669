"""Groups, as both clients and a caller's own transaction enqueue them, and the handles that they give."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, final, overload

from attrs import field, frozen
from returns.result import Result
from typing_extensions import TypeVar as DefaultTypeVar

from milepost.client import verbs
from milepost.client.room import stored, stored_blocking
from milepost.client.steps import HasStore
from milepost.client.targets import gone
from milepost.lifecycle.children import ChildCount
from milepost.lifecycle.draft import Draft
from milepost.lifecycle.record import Audit, TaskId, TaskRecord
from milepost.lifecycle.refusals import CancelAccepted, CancelRefused, EnqueueRefusal, EnqueueRefused
from milepost.lifecycle.ties import Join
from milepost.payload import PayloadRefused
from milepost.results import Failure, Outcome, Success
from milepost.stores.enqueueing import Enqueued
from milepost.stores.protocol import Session
from milepost.tasks import AnyTask, TaskRequest
from milepost.tasks.group import AnyRequest, GroupMember, TaskGroup, group
from milepost.tasks.outcomes import outcome_of

if TYPE_CHECKING:
    from milepost.client.blocking import BlockingClient
    from milepost.client.client import Client

R = TypeVar("R")
E = TypeVar("E")
R_co = DefaultTypeVar("R_co", covariant=True, default=Any)
E_co = DefaultTypeVar("E_co", covariant=True, default=Any)


@final
@frozen(eq=False)
class GroupHandle(Generic[R_co, E_co]):
    """An enqueued group: `id` is that of its continuation, or of a record of its own where it has none.

    `created` is False when the live task that holds the key of the continuation was joined in place of the whole group.
    """

    id: TaskId
    created: bool
    task: AnyTask | None = field(repr=False)
    _client: Client = field(repr=False)

    async def wait(self, timeout_seconds: float | None = None) -> Outcome[R_co, E_co]:
        """The outcome of the continuation, once there is one; without a continuation a count of how the members ended,
        a Failure where all should have succeeded and one has not.

        Raises `TimeoutError`, and `TaskGone` when the group was deleted.
        """
        return await self._client.wait(self, timeout_seconds=timeout_seconds)

    def outcome(self, record: TaskRecord) -> Outcome[R_co, E_co] | None:
        """The typed outcome of a record of this group; None before its end."""
        return _outcome(record, self.task)

    async def progress(self) -> ChildCount:
        """How far its members are; a group within counts as one. Raises `TaskGone` when the group was deleted."""
        return await self._client.store.read(lambda session: _progress(session, self.id))

    async def cancel(self, *, reason: str = "", by: str = "") -> Result[CancelAccepted, CancelRefused]:
        """End the group with all its members and what descends from them; as `Client.cancel` with `descendants`."""
        return await self._client.cancel(self.id, reason=reason, by=by, descendants=True)


@final
@frozen(eq=False)
class BlockingGroupHandle(Generic[R_co, E_co]):
    """An enqueued group, for a program without trio; `GroupHandle` says what each member is."""

    id: TaskId
    created: bool
    task: AnyTask | None = field(repr=False)
    _client: BlockingClient = field(repr=False)

    def wait(self, timeout_seconds: float | None = None) -> Outcome[R_co, E_co]:
        """The outcome of the continuation, or the count of its members; as `GroupHandle.wait`."""
        return self._client.wait(self, timeout_seconds=timeout_seconds)

    def outcome(self, record: TaskRecord) -> Outcome[R_co, E_co] | None:
        """The typed outcome of a record of this group; None before its end."""
        return _outcome(record, self.task)

    def progress(self) -> ChildCount:
        """How far its members are. Raises `TaskGone` when the group was deleted."""
        return self._client.store.read_blocking(lambda session: _progress(session, self.id))

    def cancel(self, *, reason: str = "", by: str = "") -> Result[CancelAccepted, CancelRefused]:
        """End the group with all its members; as `GroupHandle.cancel`."""
        return self._client.cancel(self.id, reason=reason, by=by, descendants=True)


class GroupVerbs:
    """What `Client` does with groups."""

    __slots__ = ()

    @overload
    async def enqueue_group(
        self: HasStore,
        requests: Iterable[GroupMember],
        then: TaskRequest[Any, Any, R, E],
        on: Join = Join.ALL_SUCCEEDED,
        *,
        fail_fast: bool = False,
        timeout_seconds: float | None = None,
    ) -> GroupHandle[R, E]: ...
    @overload
    async def enqueue_group(
        self: HasStore,
        requests: Iterable[GroupMember],
        then: None = None,
        on: Join = Join.ALL_SUCCEEDED,
        *,
        fail_fast: bool = False,
        timeout_seconds: float | None = None,
    ) -> GroupHandle[ChildCount, ChildCount]: ...
    async def enqueue_group(
        self: HasStore,
        requests: Iterable[GroupMember],
        then: AnyRequest | None = None,
        on: Join = Join.ALL_SUCCEEDED,
        *,
        fail_fast: bool = False,
        timeout_seconds: float | None = None,
    ) -> GroupHandle[Any, Any]:
        """Store requests, and groups of requests, that run side by side and are waited for as one; all or none, durable
        when this returns. Raises `EnqueueRefused`.

        `then` is stored with them and runs once all have succeeded, with their outcomes in `execution.children`; where
        one has not, it is cancelled once all have ended. With `on=ALL_FINISHED` it runs whatever became of them. With
        `fail_fast` the first that ends without a success has the others cancelled. Of an empty group it runs at once.
        """
        made = group(requests, then=then, on=on, fail_fast=fail_fast)
        head = _head_of(await stored(self.store, drafts_of(made, self.audit), timeout_seconds))
        return group_handle(head, made, cast("Client", self))


class BlockingGroupVerbs:
    """What `BlockingClient` does with groups."""

    __slots__ = ()

    @overload
    def enqueue_group(
        self: HasStore,
        requests: Iterable[GroupMember],
        then: TaskRequest[Any, Any, R, E],
        on: Join = Join.ALL_SUCCEEDED,
        *,
        fail_fast: bool = False,
        timeout_seconds: float | None = None,
    ) -> BlockingGroupHandle[R, E]: ...
    @overload
    def enqueue_group(
        self: HasStore,
        requests: Iterable[GroupMember],
        then: None = None,
        on: Join = Join.ALL_SUCCEEDED,
        *,
        fail_fast: bool = False,
        timeout_seconds: float | None = None,
    ) -> BlockingGroupHandle[ChildCount, ChildCount]: ...
    def enqueue_group(
        self: HasStore,
        requests: Iterable[GroupMember],
        then: AnyRequest | None = None,
        on: Join = Join.ALL_SUCCEEDED,
        *,
        fail_fast: bool = False,
        timeout_seconds: float | None = None,
    ) -> BlockingGroupHandle[Any, Any]:
        """Store a group of requests, all or none; as `Client.enqueue_group`."""
        made = group(requests, then=then, on=on, fail_fast=fail_fast)
        head = _head_of(stored_blocking(self.store, drafts_of(made, self.audit), timeout_seconds))
        return blocking_group_handle(head, made, cast("BlockingClient", self))


def insert_group(session: Session, made: TaskGroup, audit: Audit) -> Enqueued:
    """Encode and insert a group in a transaction that is already open; raises `EnqueueRefused`."""
    return _head_of(verbs.inserted(session, drafts_of(made, audit)))


def group_handle(head: Enqueued, made: TaskGroup, client: Client) -> GroupHandle[Any, Any]:
    """The handle of a group that `client` has enqueued."""
    return GroupHandle(head.id, head.created, _task_of(made), client)


def blocking_group_handle(head: Enqueued, made: TaskGroup, client: BlockingClient) -> BlockingGroupHandle[Any, Any]:
    """`group_handle` for a program without trio."""
    return BlockingGroupHandle(head.id, head.created, _task_of(made), client)


def drafts_of(made: TaskGroup, audit: Audit) -> list[Draft]:
    """All of the group, encoded; raises `EnqueueRefused` for what cannot be."""
    drafts = made.drafts(audit)
    if isinstance(drafts, PayloadRefused):
        raise EnqueueRefused(drafts)
    return drafts


def _head_of(answers: Result[tuple[Enqueued, ...], EnqueueRefusal]) -> Enqueued:
    return verbs.or_raise(answers)[-1]


def _task_of(made: TaskGroup) -> AnyTask | None:
    return None if made.then is None else made.then.task


def _progress(session: Session, id: TaskId) -> ChildCount:
    if not session.get([id]):
        raise gone(id)
    return session.joins.counts([id]).get(id, ChildCount())


def _outcome(record: TaskRecord, task: AnyTask | None) -> Outcome[Any, Any] | None:
    outcome = outcome_of(record, task)
    if task is not None or not isinstance(outcome, Success | Failure):
        return outcome
    # Of a group without a continuation, it is what `lifecycle.joining` has counted.
    count = ChildCount(**cast("dict[str, int]", record.result if isinstance(outcome, Success) else record.error))
    return Success(count) if isinstance(outcome, Success) else Failure(count)
