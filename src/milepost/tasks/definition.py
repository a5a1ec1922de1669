"""A `Task` is a function with its types, name and policies; a `TaskRequest` is a task with what it is asked to do.

Both are frozen values. Calling a task calls the function exactly as it was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Generic, Self, TypeAlias, TypeVar, final
from uuid import UUID

import attrs
from attrs import field, frozen
from returns.result import Failure, Result, Success
from typing_extensions import TypeVar as DefaultTypeVar

from milepost.clock import EPOCH
from milepost.codec import TypeCodec
from milepost.ids import new_id
from milepost.lifecycle.draft import Draft, OnConflict
from milepost.lifecycle.record import Audit, TaskId, TaskRecord
from milepost.lifecycle.retry import Retry
from milepost.lifecycle.ties import Tie
from milepost.lifecycle.transition import Policy
from milepost.payload import Json, JsonText, PayloadRefused
from milepost.results import TaskResult
from milepost.tasks import stored
from milepost.tasks.checks import (
    checked_id,
    checked_kind,
    checked_name,
    checked_priority,
    checked_text,
    takes_children,
)
from milepost.tasks.execution import BlockingExecution, Execution
from milepost.tasks.limit_keys import NO_LIMIT_KEYS, LimitKeys, limit_keys_of
from milepost.tasks.starts import defaults_of, has_constant_defaults

M_con = DefaultTypeVar("M_con", contravariant=True, default=Any)
X_inv = DefaultTypeVar("X_inv", default=Any)
R_co = DefaultTypeVar("R_co", covariant=True, default=Any)
E_co = DefaultTypeVar("E_co", covariant=True, default=Any)
S_co = DefaultTypeVar("S_co", covariant=True, default=Any)
T = TypeVar("T")

Upgrade: TypeAlias = Callable[[Json, Json], tuple[Json, Json]]


class TaskShape(Enum):
    """How the function is called."""

    PURE = "pure"
    ASYNC = "async"
    BLOCKING = "blocking"
    CPU_BOUND = "cpu bound"


class _Missing(Enum):
    MISSING = "missing"


@final
@frozen
class TaskTypes:
    """The four types of a task, as its annotations say."""

    metadata: Any
    execution_metadata: Any
    result: Any
    error: Any


@final
@frozen(eq=False)
class TaskCodec:
    """The four codecs of a task."""

    metadata: TypeCodec[Any]
    execution_metadata: TypeCodec[Any]
    result: TypeCodec[Any]
    error: TypeCodec[Any]

    def bounded(self, bytes_max: int | None) -> TaskCodec:
        """The same, for payloads of up to `bytes_max` bytes each; None: as they are."""
        if bytes_max is None:
            return self
        parts = (self.metadata, self.execution_metadata, self.result, self.error)
        return TaskCodec(*(attrs.evolve(part, bytes_max=bytes_max) for part in parts))


@frozen(eq=False, repr=False)
class Task(Generic[M_con, X_inv, R_co, E_co]):
    """A registered-by-name, typed background task; made by the decorator `task`."""

    function: Callable[..., Any]
    name: str
    types: TaskTypes
    codec: TaskCodec
    shape: TaskShape
    takes_execution: bool
    version: int = 1
    upgrades: Mapping[int, Upgrade] = field(factory=dict[int, Upgrade])
    policy: Policy = field(factory=Policy)
    timeout_seconds: float | None = None
    deadline_seconds: float | None = None
    start_within_seconds: float | None = None
    payload_bytes_max: int | None = None
    queue: str = "default"
    priority: int = 0
    audit: Audit | None = None
    on_outcome: Callable[..., Any] | None = None
    parts: tuple[AnyTask, ...] = ()
    """The tasks without which this one is not whole: whoever registers it registers them too."""
    blank: TaskRecord = field(init=False)
    """What the records of all its requests have in common."""
    start_json: JsonText | None = field(init=False, default=None)
    """The execution metadata of requests that bring none, where it is always the same; encoding it takes a while."""

    def __attrs_post_init__(self) -> None:
        blank = TaskRecord(
            id=TaskId(""),
            name=self.name,
            version=self.version,
            deadline_seconds=self.deadline_seconds,
            ties=_ties_of(self.on_outcome),
            created_at=EPOCH,
        )
        object.__setattr__(self, "blank", blank)
        if has_constant_defaults(self.types.execution_metadata):
            written = self.codec.execution_metadata.write(defaults_of(self))
            object.__setattr__(self, "start_json", None if isinstance(written, PayloadRefused) else written)

    def with_metadata(self, metadata: M_con) -> TaskRequest[M_con, X_inv, R_co, E_co]:
        """A request for this task; nothing happens before it is enqueued."""
        return TaskRequest(self, metadata)

    def with_parts(self, *parts: AnyTask) -> Self:
        """The same task; whoever registers it registers `parts` as well."""
        return attrs.evolve(self, parts=self.parts + parts)

    @property
    def retry(self) -> Retry:
        """When a failed attempt is tried again."""
        return self.policy.retry

    def decode(self, version: int, metadata: str, execution_metadata: str) -> Result[tuple[Any, Any], PayloadRefused]:
        """The typed metadata and execution metadata of a stored row, upgraded from its version to this one."""
        return stored.decoded(self, version, metadata, execution_metadata)

    def read(self, record: TaskRecord) -> tuple[Any, Any]:
        """`decode` for a record of this version that is most likely sound: raises anything at all for what is not."""
        codec = self.codec
        return codec.metadata.read(record.metadata_json), codec.execution_metadata.read(record.execution_metadata_json)

    def moved(self, record: TaskRecord) -> Result[TaskRecord, PayloadRefused]:
        """The record with its payloads upgraded to this version; itself where it is of this version.

        Whoever writes typed execution metadata to a row must move it first: a row has one version for all of it.
        """
        moved = stored.moved(self, record)
        return Failure(moved.refusal) if isinstance(moved, stored.RowFault) else Success(moved)

    def shown(self, record: TaskRecord) -> TaskRecord:
        """What people may see of a record: its payloads, upgraded if they have secrets, with `***` for each secret.

        Of a payload that cannot be read nothing is shown if its type has secrets. Never raises.
        """
        return stored.shown(self, record)

    def faults_of(self, record: TaskRecord) -> Iterator[stored.RowFault]:
        """Whatever keeps this program from reading a record, the first fault of each of its payloads.

        Result and error are looked at once the task has ended.
        """
        return stored.faults_of(self, record)

    @property
    def has_secrets(self) -> bool:
        """Whether some payload may hold a secret."""
        codec = self.codec
        return any(part.has_secrets for part in (codec.metadata, codec.execution_metadata, codec.result, codec.error))

    def hide(self, text: str, record: TaskRecord) -> str:
        """`text`, such as an exception's message, with `***` for each secret of the record that stands in it."""
        return stored.hidden(self, record, text)

    def limit_keys(self, metadata: object) -> LimitKeys:
        """By which keys a task with this metadata is counted under its limits. Raises `TaskDefinitionError` where one
        of their key functions does not give a text."""
        return limit_keys_of(self.name, self.policy, metadata, has_secrets=self.has_secrets)

    def __repr__(self) -> str:
        return f"<Task {self.name!r} version {self.version}, {self.shape.value}>"


AnyTask: TypeAlias = "Task[Any, Any, Any, Any]"


@final
@frozen(eq=False, repr=False)
class PureTask(Task[M_con, X_inv, R_co, E_co], Generic[M_con, X_inv, R_co, E_co, S_co]):
    """A `def` of two parameters."""

    def __call__(self, metadata: M_con, execution_metadata: X_inv, /) -> TaskResult[R_co, E_co, S_co]:
        """Call the function."""
        result: TaskResult[R_co, E_co, S_co] = self.function(metadata, execution_metadata)
        return result


@final
@frozen(eq=False, repr=False)
class AsyncTask(Task[M_con, X_inv, R_co, E_co], Generic[M_con, X_inv, R_co, E_co, S_co]):
    """An `async def` of two parameters."""

    async def __call__(self, metadata: M_con, execution_metadata: X_inv, /) -> TaskResult[R_co, E_co, S_co]:
        """Call the function."""
        result: TaskResult[R_co, E_co, S_co] = await self.function(metadata, execution_metadata)
        return result


@final
@frozen(eq=False, repr=False)
class CommittingTask(Task[M_con, X_inv, R_co, E_co], Generic[M_con, X_inv, R_co, E_co, S_co]):
    """An `async def` that also takes its execution."""

    async def __call__(
        self, metadata: M_con, execution_metadata: X_inv, execution: Execution[X_inv], /
    ) -> TaskResult[R_co, E_co, S_co]:
        """Call the function."""
        result: TaskResult[R_co, E_co, S_co] = await self.function(metadata, execution_metadata, execution)
        return result


@final
@frozen(eq=False, repr=False)
class BlockingTask(Task[M_con, X_inv, R_co, E_co], Generic[M_con, X_inv, R_co, E_co, S_co]):
    """A blocking `def` that also takes its execution."""

    def __call__(
        self, metadata: M_con, execution_metadata: X_inv, execution: BlockingExecution[X_inv], /
    ) -> TaskResult[R_co, E_co, S_co]:
        """Call the function."""
        result: TaskResult[R_co, E_co, S_co] = self.function(metadata, execution_metadata, execution)
        return result


@final
@frozen
class TaskRequest(Generic[M_con, X_inv, R_co, E_co]):
    """A task and what it is asked to do; each method gives a changed copy."""

    task: Task[Any, X_inv, R_co, E_co]
    metadata: object
    execution_metadata: X_inv | _Missing = _Missing.MISSING
    key: str | None = None
    on_conflict: OnConflict = OnConflict.KEEP
    correlation: str | None = None
    priority: int | None = None
    queue: str | None = None
    audit: Audit | None = None
    start: datetime | timedelta | None = None
    start_within_seconds: float | None = None
    id: TaskId | None = None

    @property
    def rejects_conflict(self) -> bool:
        """Whether a taken key would be refused; such a request cannot be a follow-up."""
        return self.on_conflict is OnConflict.REJECT

    def with_execution_metadata(self, execution_metadata: X_inv) -> Self:
        """Start from `execution_metadata` instead of the execution metadata's defaults."""
        return attrs.evolve(self, execution_metadata=execution_metadata)

    def with_key(self, key: str, on_conflict: OnConflict = OnConflict.KEEP) -> Self:
        """At most one live task per (name, key): KEEP the live one, REPLACE it unless it runs, or REJECT this one."""
        checked_kind(on_conflict, OnConflict, "on_conflict is KEEP, REPLACE or REJECT")
        return attrs.evolve(self, key=checked_text(key, "key"), on_conflict=on_conflict)

    def with_priority(self, priority: int) -> Self:
        """Higher runs first within its queue; the default is the task's, which is 0 unless it says otherwise."""
        return attrs.evolve(self, priority=checked_priority(priority))

    def in_queue(self, queue: str) -> Self:
        """Wait in `queue` instead of the task's own."""
        return attrs.evolve(self, queue=checked_name(queue, "queue"))

    def after(self, delay: timedelta) -> Self:
        """Start `delay` after the enqueueing. Raises ValueError when it is negative."""
        if checked_kind(delay, timedelta, "after() needs a timedelta") < timedelta(0):
            raise ValueError(f"after() needs a delay of zero or more, got {delay!r}")
        return attrs.evolve(self, start=delay)

    def at(self, moment: datetime) -> Self:
        """Start at `moment`, an aware datetime; a past one means at once. Raises ValueError for a naive one."""
        if checked_kind(moment, datetime, "at() needs an aware datetime").utcoffset() is None:
            raise ValueError(f"at() needs an aware datetime, {moment!r} has no time zone")
        return attrs.evolve(self, start=moment)

    def start_within(self, limit: timedelta) -> Self:
        """End it as failed instead of starting it later than `limit` after it falls due. Raises ValueError when that is
        not above zero."""
        if checked_kind(limit, timedelta, "start_within() needs a timedelta") <= timedelta(0):
            raise ValueError(f"start_within() needs a time above zero, got {limit!r}")
        return attrs.evolve(self, start_within_seconds=limit.total_seconds())

    def with_id(self, id: str | UUID) -> Self:
        """Enqueue it under this id, a UUID, and at most once: the same request under the same id again gives the handle
        of the first with `created=False`, whatever has become of it; another request is refused with `IdTaken`."""
        return attrs.evolve(self, id=checked_id(id))

    def with_correlation(self, correlation: str) -> Self:
        """A text of yours to find the task by, such as an order's number."""
        return attrs.evolve(self, correlation=checked_text(correlation, "correlation"))

    def with_audit(self, audit: Audit) -> Self:
        """How much history is kept of this one."""
        return attrs.evolve(self, audit=checked_kind(audit, Audit, "an audit level is one of Audit, as Audit.FULL"))

    def draft(self, audit: Audit = Audit.TRANSITIONS) -> Draft | PayloadRefused:
        """The request, encoded, under its own id or a fresh one; a bare union, for it is asked of every request.

        `audit` is for requests and tasks that ask for none of their own. Raises `TaskDefinitionError` when it lacks
        execution metadata, or when a limit's key function does not give a text.
        """
        task = self.task
        metadata = task.codec.metadata.write(self.metadata)
        if isinstance(metadata, PayloadRefused):
            return _in("metadata", metadata)
        execution_metadata = self._start_json()
        if isinstance(execution_metadata, PayloadRefused):
            return _in("execution metadata", execution_metadata)
        return Draft(
            task.blank,
            TaskId(new_id()) if self.id is None else self.id,
            metadata,
            execution_metadata,
            task.queue if self.queue is None else self.queue,
            task.priority if self.priority is None else self.priority,
            self.audit or task.audit or audit,
            self.key,
            self.correlation,
            self.on_conflict,
            self.start,
            task.start_within_seconds if self.start_within_seconds is None else self.start_within_seconds,
            self.id is not None,
            task.limit_keys(self.metadata) if task.policy.has_limits else NO_LIMIT_KEYS,
        )

    def _start_json(self) -> JsonText | PayloadRefused:
        task = self.task
        if not isinstance(self.execution_metadata, _Missing):
            return task.codec.execution_metadata.write(self.execution_metadata)
        if task.start_json is not None:
            return task.start_json
        return task.codec.execution_metadata.write(defaults_of(task))


def _in(part: str, refusal: PayloadRefused) -> PayloadRefused:
    return PayloadRefused(f"{part} {refusal.path}", refusal.reason)


def _ties_of(on_outcome: Callable[..., Any] | None) -> Tie:
    if on_outcome is None:
        return Tie.NONE
    return Tie.HOOKED | Tie.HANDS_OVER if takes_children(on_outcome) else Tie.HOOKED
