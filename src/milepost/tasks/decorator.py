"""The decorator that makes a typed function a `Task`."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Coroutine, Mapping
from types import FrameType
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, Unpack, overload

from milepost.codec.scalars import shown
from milepost.errors import TaskDefinitionError
from milepost.lifecycle.joining import RESERVED_PREFIX
from milepost.lifecycle.limits import ConcurrencyLimit, RateLimit
from milepost.lifecycle.record import Audit
from milepost.lifecycle.retry import Retry
from milepost.lifecycle.transition import Policy
from milepost.payload import PAYLOAD_BYTES_LIMIT
from milepost.results import TaskValue
from milepost.tasks.checks import checked_kind, checked_name, checked_priority
from milepost.tasks.definition import (
    AnyTask,
    AsyncTask,
    BlockingTask,
    CommittingTask,
    PureTask,
    TaskShape,
    Upgrade,
)
from milepost.tasks.execution import BlockingExecution, Execution
from milepost.tasks.hooked import HookedBlockingDecorator, HookedCpuBoundDecorator, HookedDecorator
from milepost.tasks.hooks import OnOutcome, checked_on_outcome, with_on_outcome
from milepost.tasks.options import CommonOptions
from milepost.tasks.signature import TaskSignature, read_signature

M = TypeVar("M")
X = TypeVar("X")
R = TypeVar("R")
E = TypeVar("E")
S = TypeVar("S")
T = TypeVar("T")
_Coroutine: TypeAlias = Coroutine[Any, Any, T]


class TaskDecorator(Protocol):
    """What `task(...)` gives: tells the shape from the function."""

    @overload
    def __call__(self, function: Callable[[M, X], _Coroutine[TaskValue[R, E, S]]], /) -> AsyncTask[M, X, R, E, S]: ...
    @overload
    def __call__(
        self, function: Callable[[M, X, Execution[X]], _Coroutine[TaskValue[R, E, S]]], /
    ) -> CommittingTask[M, X, R, E, S]: ...
    @overload
    def __call__(self, function: Callable[[M, X], TaskValue[R, E, S]], /) -> PureTask[M, X, R, E, S]: ...


class BlockingDecorator(Protocol):
    """What `task(blocking=True)` gives."""

    @overload
    def __call__(self, function: Callable[[M, X], TaskValue[R, E, S]], /) -> PureTask[M, X, R, E, S]: ...
    @overload
    def __call__(
        self, function: Callable[[M, X, BlockingExecution[X]], TaskValue[R, E, S]], /
    ) -> BlockingTask[M, X, R, E, S]: ...


class CpuBoundDecorator(Protocol):
    """What `task(cpu_bound=True)` gives: a worker process has no execution to commit with."""

    def __call__(self, function: Callable[[M, X], TaskValue[R, E, S]], /) -> PureTask[M, X, R, E, S]:
        """Make the function a task."""
        ...


@overload
def task(function: Callable[[M, X], _Coroutine[TaskValue[R, E, S]]], /) -> AsyncTask[M, X, R, E, S]: ...
@overload
def task(
    function: Callable[[M, X, Execution[X]], _Coroutine[TaskValue[R, E, S]]], /
) -> CommittingTask[M, X, R, E, S]: ...
@overload
def task(function: Callable[[M, X], TaskValue[R, E, S]], /) -> PureTask[M, X, R, E, S]: ...
@overload
def task(
    *,
    on_outcome: OnOutcome[M, X, R, E],
    blocking: Literal[True],
    name: str | None = ...,
    **options: Unpack[CommonOptions],
) -> HookedBlockingDecorator[M, X, R, E]: ...
@overload
def task(
    *,
    on_outcome: OnOutcome[M, X, R, E],
    cpu_bound: Literal[True],
    name: str | None = ...,
    **options: Unpack[CommonOptions],
) -> HookedCpuBoundDecorator[M, X, R, E]: ...
@overload
def task(
    *, on_outcome: OnOutcome[M, X, R, E], name: str | None = ..., **options: Unpack[CommonOptions]
) -> HookedDecorator[M, X, R, E]: ...
@overload
def task(
    *,
    blocking: Literal[True],
    name: str | None = ...,
    version: int = ...,
    upgrades: Mapping[int, Upgrade] | None = ...,
    retry: Retry | None = ...,
    timeout_seconds: float | None = ...,
    deadline_seconds: float | None = ...,
    start_within_seconds: float | None = ...,
    queue: str = ...,
    priority: int = ...,
    rate_limit: RateLimit | None = ...,
    concurrency_limit: ConcurrencyLimit | None = ...,
    payload_bytes_max: int | None = ...,
    audit: Audit | None = ...,
) -> BlockingDecorator: ...
@overload
def task(
    *,
    cpu_bound: Literal[True],
    name: str | None = ...,
    version: int = ...,
    upgrades: Mapping[int, Upgrade] | None = ...,
    retry: Retry | None = ...,
    timeout_seconds: float | None = ...,
    deadline_seconds: float | None = ...,
    start_within_seconds: float | None = ...,
    queue: str = ...,
    priority: int = ...,
    rate_limit: RateLimit | None = ...,
    concurrency_limit: ConcurrencyLimit | None = ...,
    payload_bytes_max: int | None = ...,
    audit: Audit | None = ...,
) -> CpuBoundDecorator: ...
@overload
def task(
    *,
    name: str | None = ...,
    version: int = ...,
    upgrades: Mapping[int, Upgrade] | None = ...,
    retry: Retry | None = ...,
    timeout_seconds: float | None = ...,
    deadline_seconds: float | None = ...,
    start_within_seconds: float | None = ...,
    queue: str = ...,
    priority: int = ...,
    rate_limit: RateLimit | None = ...,
    concurrency_limit: ConcurrencyLimit | None = ...,
    payload_bytes_max: int | None = ...,
    audit: Audit | None = ...,
    on_outcome: None = ...,
) -> TaskDecorator: ...
def task(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a typed function a background task; works as `@task` and as `@task(...)`.

    The function takes `(metadata, execution_metadata)` and, if it is an `async def` or `blocking=True`, optionally its
    execution; it returns `TaskResult[R, E]`. Everything about its annotations is checked here: what could not work
    raises `TaskDefinitionError` with the fix. `name` is stored in rows (default: the function's name), so renaming is
    a schema change. A plain `def` is called inline; `blocking=True` runs it on a worker thread, `cpu_bound=True` in a
    worker process (extra `cpu`; the function must be importable). `timeout_seconds` bounds one attempt,
    `deadline_seconds` the whole task from its enqueueing, `start_within_seconds` the wait for its start from when it
    falls due, `payload_bytes_max` each of its payloads (default: 1 MiB).

    `on_outcome` is called with metadata, last execution metadata and outcome once the task has ended, however that
    came: by its answer, a crash, a cancel, a deadline; with the children that it has waited for as a fourth, if it
    takes so many, and then they are its own, so that a requeue of the task does not find them. What it returns, a list
    of requests and groups, is enqueued. It runs as a task of its own, which is inserted in the transaction that ends
    this one and is named after it, with `:on-outcome` appended.
    """
    names = locals_of(inspect.currentframe())
    if function is not None:
        return _define(function, names)

    def decorate(function: Callable[..., Any]) -> AnyTask:
        return _define(function, {**names, **locals_of(inspect.currentframe())}, **options)

    return decorate


def locals_of(frame: FrameType | None) -> Mapping[str, Any]:
    """The locals of whoever called the function of `frame`: annotations may name what only that frame knows."""
    return {} if frame is None or frame.f_back is None else frame.f_back.f_locals


def _define(
    function: Callable[..., Any],
    names: Mapping[str, Any],
    *,
    name: str | None = None,
    version: int = 1,
    upgrades: Mapping[int, Upgrade] | None = None,
    retry: Retry | None = None,
    timeout_seconds: float | None = None,
    deadline_seconds: float | None = None,
    start_within_seconds: float | None = None,
    queue: str = "default",
    priority: int = 0,
    rate_limit: RateLimit | None = None,
    concurrency_limit: ConcurrencyLimit | None = None,
    payload_bytes_max: int | None = None,
    blocking: bool = False,
    cpu_bound: bool = False,
    audit: Audit | None = None,
    on_outcome: Callable[..., Any] | None = None,
) -> AnyTask:
    if not callable(function):
        raise TaskDefinitionError(
            f"@task is for functions, got {function!r}; options are given by name: @task(name=...)"
        )
    signature = read_signature(function, blocking=blocking or cpu_bound, names=names)
    kept = dict(upgrades or {})
    _check_versions(version, kept)
    policy = _policy(retry, rate_limit, concurrency_limit)
    defined = _class_of(signature)(
        function,
        _checked_task_name(_default_name(function) if name is None else name),
        signature.types,
        signature.codec.bounded(_checked_bytes(payload_bytes_max)),
        _shape_of(signature, blocking=blocking, cpu_bound=cpu_bound),
        signature.takes_execution,
        version=version,
        upgrades=kept,
        policy=policy,
        timeout_seconds=_checked_seconds(timeout_seconds, "timeout_seconds"),
        deadline_seconds=_checked_seconds(deadline_seconds, "deadline_seconds"),
        start_within_seconds=_checked_seconds(start_within_seconds, "start_within_seconds"),
        payload_bytes_max=payload_bytes_max,
        queue=checked_name(queue, "queue"),
        priority=checked_priority(priority),
        audit=checked_kind(audit, Audit | None, "audit is one of Audit, as Audit.FULL, or None"),
        on_outcome=checked_on_outcome(on_outcome),
    )
    return defined if on_outcome is None else with_on_outcome(defined, on_outcome)


def _policy(retry: Retry | None, rate: RateLimit | None, concurrency: ConcurrencyLimit | None) -> Policy:
    checked_kind(retry, Retry | None, "retry is a Retry or None")
    checked_kind(rate, RateLimit | None, "rate_limit is a RateLimit or None")
    checked_kind(concurrency, ConcurrencyLimit | None, "concurrency_limit is a ConcurrencyLimit or None")
    return Policy(retry or Retry.default(), rate_limit=rate, concurrency_limit=concurrency)


def _class_of(signature: TaskSignature) -> Callable[..., AnyTask]:
    if signature.is_async:
        return CommittingTask if signature.takes_execution else AsyncTask
    return BlockingTask if signature.takes_execution else PureTask


def _shape_of(signature: TaskSignature, *, blocking: bool, cpu_bound: bool) -> TaskShape:
    if cpu_bound:
        if signature.takes_execution:
            raise TaskDefinitionError("a cpu_bound task runs in another process and cannot take an execution")
        return TaskShape.CPU_BOUND
    if blocking:
        return TaskShape.BLOCKING
    return TaskShape.ASYNC if signature.is_async else TaskShape.PURE


def _default_name(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", None)
    if isinstance(function, functools.partial) or not isinstance(name, str) or name == "<lambda>":
        raise TaskDefinitionError(f"{function!r} has no name of its own: write @task(name=...)")
    return name


def _checked_task_name(name: str) -> str:
    if checked_name(name, "name of a task").startswith(RESERVED_PREFIX):
        raise TaskDefinitionError(
            f"the name {shown(name)} begins with {RESERVED_PREFIX!r}, which milepost keeps for itself: take another one"
        )
    return name


def _check_versions(version: int, upgrades: Mapping[int, Upgrade]) -> None:
    if type(version) is not int or not 1 <= version < 2**31:
        raise TaskDefinitionError(f"version is an integer from 1, got {version!r}")
    if any(type(step) is not int or not callable(upgrade) for step, upgrade in upgrades.items()):
        raise TaskDefinitionError(f"upgrades are functions by the version that they start from, got {dict(upgrades)!r}")
    if upgrades and (min(upgrades) < 1 or sorted(upgrades) != list(range(min(upgrades), version))):
        raise TaskDefinitionError(
            f"upgrades must lead without a gap to version {version}, one function for each version before it; "
            f"got upgrades from {sorted(upgrades)}"
        )


def _checked_seconds(seconds: float | None, what: str) -> float | None:
    if seconds is not None and not (type(seconds) in (int, float) and seconds > 0 and math.isfinite(seconds)):
        raise TaskDefinitionError(f"{what} must be above 0, got {seconds!r}")
    return seconds


def _checked_bytes(count: int | None) -> int | None:
    if count is not None and (type(count) is not int or not 2 <= count <= PAYLOAD_BYTES_LIMIT):
        raise TaskDefinitionError(
            f"payload_bytes_max is a whole number from 2 to {PAYLOAD_BYTES_LIMIT}, got {shown(count)}: what is larger "
            "belongs in a file or a table, with its name in the payload"
        )
    return count
