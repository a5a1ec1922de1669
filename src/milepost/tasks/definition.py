"""A `Task` is a function with its types, name and policies; a `TaskRequest` is a task with what it is asked to do.

Both are frozen values. Calling a task calls the function exactly as it was written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Generic, Self, TypeAlias, TypeVar, final

import attrs
from attrs import field, frozen
from returns.result import Failure, Result, Success
from typing_extensions import TypeVar as DefaultTypeVar

from milepost.clock import EPOCH
from milepost.codec import TypeCodec
from milepost.codec.scalars import shown
from milepost.errors import TaskDefinitionError
from milepost.ids import new_id
from milepost.lifecycle.draft import Draft, OnConflict
from milepost.lifecycle.record import Audit, TaskId, TaskRecord
from milepost.lifecycle.retry import Retry
from milepost.lifecycle.transition import Policy
from milepost.payload import Json, JsonText, PayloadRefused, from_json_text, legible, to_json_text
from milepost.results import TaskResult
from milepost.tasks.execution import BlockingExecution, Execution

M_con = DefaultTypeVar("M_con", contravariant=True, default=Any)
X_inv = DefaultTypeVar("X_inv", default=Any)
R_co = DefaultTypeVar("R_co", covariant=True, default=Any)
E_co = DefaultTypeVar("E_co", covariant=True, default=Any)
S_co = DefaultTypeVar("S_co", covariant=True, default=Any)
T = TypeVar("T")

Upgrade: TypeAlias = Callable[[Json, Json], tuple[Json, Json]]
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,200}")
_KEY_CHARACTERS_MAX = 200
_CONSTANTS = frozenset({type(None), bool, int, float, str})


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
            created_at=EPOCH,
        )
        object.__setattr__(self, "blank", blank)
        if _has_constant_defaults(self.types.execution_metadata):
            written = self.codec.execution_metadata.write(_defaults_of(self))
            object.__setattr__(self, "start_json", None if isinstance(written, PayloadRefused) else written)

    def with_metadata(self, metadata: M_con) -> TaskRequest[M_con, X_inv, R_co, E_co]:
        """A request for this task; nothing happens before it is enqueued."""
        return TaskRequest(self, metadata)

    @property
    def retry(self) -> Retry:
        """When a failed attempt is tried again."""
        return self.policy.retry

    def decode(self, version: int, metadata: str, execution_metadata: str) -> Result[tuple[Any, Any], PayloadRefused]:
        """The typed metadata and execution metadata of a stored row, upgraded from its version to this one."""
        if version != self.version:
            match self._upgraded(version, metadata, execution_metadata):
                case Success((metadata, execution_metadata)):
                    pass
                case refused:
                    return Failure(refused.failure())
        m = self.codec.metadata.decode(metadata)
        x = self.codec.execution_metadata.decode(execution_metadata)
        if not isinstance(m, Success):
            return Failure(_in("metadata", m.failure()))
        if not isinstance(x, Success):
            return Failure(_in("execution metadata", x.failure()))
        return Success((m.unwrap(), x.unwrap()))

    def read(self, version: int, metadata: str, execution_metadata: str) -> tuple[Any, Any]:
        """`decode` for what is most likely sound: raises anything at all for what is not."""
        if version != self.version:
            metadata, execution_metadata = self._upgraded(version, metadata, execution_metadata).unwrap()
        return self.codec.metadata.read(metadata), self.codec.execution_metadata.read(execution_metadata)

    def _upgraded(
        self, version: int, metadata: str, execution_metadata: str
    ) -> Result[tuple[str, str], PayloadRefused]:
        if version > self.version:
            return _refuse(f"stored as version {version}, this program knows {self.name!r} up to {self.version}")
        m, x = from_json_text(metadata), from_json_text(execution_metadata)
        if not isinstance(m, Success):
            return Failure(_in("metadata", m.failure()))
        if not isinstance(x, Success):
            return Failure(_in("execution metadata", x.failure()))
        values = m.unwrap(), x.unwrap()
        for step in range(version, self.version):
            upgrade = self.upgrades.get(step)
            if upgrade is None:
                return _refuse(f"stored as version {version} and {self.name!r} has no upgrade from {step}")
            try:
                metadata_value, execution_value = upgrade(*values)
            except Exception as error:  # user code: what it raises makes this one row undecodable
                return _refuse(f"the upgrade from version {step} failed: {type(error).__name__}: {legible(error)}")
            values = metadata_value, execution_value
        return _written(*values)

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

    @property
    def rejects_conflict(self) -> bool:
        """Whether a taken key would be refused; such a request cannot be a follow-up."""
        return self.on_conflict is OnConflict.REJECT

    def with_execution_metadata(self, execution_metadata: X_inv) -> Self:
        """Start from `execution_metadata` instead of the execution metadata's defaults."""
        return attrs.evolve(self, execution_metadata=execution_metadata)

    def with_key(self, key: str, on_conflict: OnConflict = OnConflict.KEEP) -> Self:
        """At most one live task per (name, key): KEEP the live one, REPLACE it unless it runs, or REJECT this one."""
        return attrs.evolve(self, key=_checked_text(key, "key"), on_conflict=on_conflict)

    def with_priority(self, priority: int) -> Self:
        """Higher runs first within its queue; the default is the task's, which is 0 unless it says otherwise."""
        return attrs.evolve(self, priority=checked_priority(priority))

    def in_queue(self, queue: str) -> Self:
        """Wait in `queue` instead of the task's own."""
        return attrs.evolve(self, queue=checked_name(queue, "queue"))

    def after(self, delay: timedelta) -> Self:
        """Start `delay` after the enqueueing. Raises ValueError when it is negative."""
        if delay < timedelta(0):
            raise ValueError(f"after() needs a delay of zero or more, got {delay!r}")
        return attrs.evolve(self, start=delay)

    def at(self, moment: datetime) -> Self:
        """Start at `moment`, an aware datetime; a past one means at once. Raises ValueError for a naive one."""
        if moment.utcoffset() is None:
            raise ValueError(f"at() needs an aware datetime, {moment!r} has no time zone")
        return attrs.evolve(self, start=moment)

    def with_correlation(self, correlation: str) -> Self:
        """A text of yours to find the task by, such as an order's number."""
        return attrs.evolve(self, correlation=_checked_text(correlation, "correlation"))

    def with_audit(self, audit: Audit) -> Self:
        """How much history is kept of this one."""
        return attrs.evolve(self, audit=audit)

    def draft(self, audit: Audit = Audit.TRANSITIONS) -> Result[Draft, PayloadRefused]:
        """The request, encoded and under a fresh id; `audit` is for requests and tasks that ask for none of their own.

        Raises `TaskDefinitionError` when it lacks execution metadata.
        """
        task = self.task
        metadata = task.codec.metadata.write(self.metadata)
        if isinstance(metadata, PayloadRefused):
            return Failure(_in("metadata", metadata))
        execution_metadata = self._start_json()
        if isinstance(execution_metadata, PayloadRefused):
            return Failure(_in("execution metadata", execution_metadata))
        return Success(
            Draft(
                task.blank,
                TaskId(new_id()),
                metadata,
                execution_metadata,
                task.queue if self.queue is None else self.queue,
                task.priority if self.priority is None else self.priority,
                self.audit or task.audit or audit,
                self.key,
                self.correlation,
                self.on_conflict,
                self.start,
            )
        )

    def _start_json(self) -> JsonText | PayloadRefused:
        task = self.task
        if not isinstance(self.execution_metadata, _Missing):
            return task.codec.execution_metadata.write(self.execution_metadata)
        if task.start_json is not None:
            return task.start_json
        return task.codec.execution_metadata.write(_defaults_of(task))


def _defaults_of(task: AnyTask) -> object:
    """The execution metadata of a request that brings none."""
    kind = task.types.execution_metadata
    if kind in (None, type(None)):
        return None
    try:
        return kind()
    except Exception as error:  # a class of the user's, which may refuse its own defaults in its own way
        raise TaskDefinitionError(
            f"{task.name!r} cannot start without execution metadata, {kind} has no defaults for all of it "
            f"({legible(error)}): add .with_execution_metadata(...) to the request"
        ) from None


def _has_constant_defaults(kind: Any) -> bool:
    """Whether a call without arguments gives the same value each time: an attrs class in which nothing computes."""
    return (
        isinstance(kind, type)
        and "__attrs_attrs__" in vars(kind)
        and not any(hasattr(kind, hook) for hook in ("__attrs_init__", "__attrs_pre_init__", "__attrs_post_init__"))
        and all(
            type(each.default) in _CONSTANTS and each.converter is None and each.validator is None
            for each in attrs.fields(kind)
        )
    )


def checked_name(name: str, what: str) -> str:
    """`name` itself; raises `TaskDefinitionError` unless it is 1 to 200 letters, digits, `_`, `.`, `:` or `-`."""
    if type(name) is not str or not _NAME.fullmatch(name):
        raise TaskDefinitionError(
            f"the {what} {shown(name)} is not a name: use 1 to 200 letters, digits, '_', '.', ':' or '-'"
        )
    return name


def checked_priority(priority: int) -> int:
    """`priority` itself; raises `TaskDefinitionError` unless it is an integer of 32 bits."""
    if type(priority) is not int or not -(2**31) <= priority < 2**31:
        raise TaskDefinitionError(f"a priority is an integer from -2147483648 to 2147483647, got {shown(priority)}")
    return priority


def _refuse(reason: str) -> Failure[PayloadRefused]:
    return Failure(PayloadRefused("$", reason))


def _written(m: Json, x: Json) -> Result[tuple[str, str], PayloadRefused]:
    metadata, execution_metadata = to_json_text(m), to_json_text(x)
    if not isinstance(metadata, Success):
        return Failure(_in("upgraded metadata", metadata.failure()))
    if not isinstance(execution_metadata, Success):
        return Failure(_in("upgraded execution metadata", execution_metadata.failure()))
    return Success((metadata.unwrap(), execution_metadata.unwrap()))


def _checked_text(text: str, what: str) -> str:
    if type(text) is not str or not 1 <= len(text) <= _KEY_CHARACTERS_MAX or "\0" in text or not _encodable(text):
        raise TaskDefinitionError(f"a {what} is 1 to {_KEY_CHARACTERS_MAX} characters of text, got {shown(text)}")
    return text


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _in(part: str, refusal: PayloadRefused) -> PayloadRefused:
    return PayloadRefused(f"{part} {refusal.path}", refusal.reason)
