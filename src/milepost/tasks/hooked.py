"""What `task(on_outcome=...)` gives: a decorator for functions that the `on_outcome` fits.

An `on_outcome` for anything at all fits every function; one that names types fits those functions that have them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeAlias, TypeVar, overload

from milepost.results import TaskValue
from milepost.tasks.definition import AsyncTask, BlockingTask, CommittingTask, PureTask
from milepost.tasks.execution import BlockingExecution, Execution

M = TypeVar("M")
X = TypeVar("X")
R = TypeVar("R")
E = TypeVar("E")
S = TypeVar("S")
T = TypeVar("T")
M_con = TypeVar("M_con", contravariant=True)
X_con = TypeVar("X_con", contravariant=True)
R_con = TypeVar("R_con", contravariant=True)
E_con = TypeVar("E_con", contravariant=True)
_Coroutine: TypeAlias = Coroutine[Any, Any, T]
_ForAny: TypeAlias = "HookedDecorator[object, object, object, object]"
_BlockingForAny: TypeAlias = "HookedBlockingDecorator[object, object, object, object]"
_CpuBoundForAny: TypeAlias = "HookedCpuBoundDecorator[object, object, object, object]"

# The first overloads are for what fits every function: checkers read the type of `self` before that of the function.


class HookedDecorator(ABC, Generic[M_con, X_con, R_con, E_con]):
    """For a `def` or an `async def`."""

    @overload
    def __call__(
        self: _ForAny, function: Callable[[M, X], _Coroutine[TaskValue[R, E, S]]], /
    ) -> AsyncTask[M, X, R, E, S]: ...
    @overload
    def __call__(
        self: _ForAny, function: Callable[[M, X, Execution[X]], _Coroutine[TaskValue[R, E, S]]], /
    ) -> CommittingTask[M, X, R, E, S]: ...
    @overload
    def __call__(self: _ForAny, function: Callable[[M, X], TaskValue[R, E, S]], /) -> PureTask[M, X, R, E, S]: ...
    @overload
    def __call__(
        self: HookedDecorator[M, X, R, E], function: Callable[[M, X], _Coroutine[TaskValue[R, E, S]]], /
    ) -> AsyncTask[M, X, R, E, S]: ...
    @overload
    def __call__(
        self: HookedDecorator[M, X, R, E], function: Callable[[M, X, Execution[X]], _Coroutine[TaskValue[R, E, S]]], /
    ) -> CommittingTask[M, X, R, E, S]: ...
    @overload
    def __call__(
        self: HookedDecorator[M, X, R, E], function: Callable[[M, X], TaskValue[R, E, S]], /
    ) -> PureTask[M, X, R, E, S]: ...
    @abstractmethod
    def __call__(self, function: Callable[..., Any], /) -> Any:
        """Make the function a task."""
        ...


class HookedBlockingDecorator(ABC, Generic[M_con, X_con, R_con, E_con]):
    """For a `def` on a worker thread."""

    @overload
    def __call__(
        self: _BlockingForAny, function: Callable[[M, X], TaskValue[R, E, S]], /
    ) -> PureTask[M, X, R, E, S]: ...
    @overload
    def __call__(
        self: _BlockingForAny, function: Callable[[M, X, BlockingExecution[X]], TaskValue[R, E, S]], /
    ) -> BlockingTask[M, X, R, E, S]: ...
    @overload
    def __call__(
        self: HookedBlockingDecorator[M, X, R, E], function: Callable[[M, X], TaskValue[R, E, S]], /
    ) -> PureTask[M, X, R, E, S]: ...
    @overload
    def __call__(
        self: HookedBlockingDecorator[M, X, R, E],
        function: Callable[[M, X, BlockingExecution[X]], TaskValue[R, E, S]],
        /,
    ) -> BlockingTask[M, X, R, E, S]: ...
    @abstractmethod
    def __call__(self, function: Callable[..., Any], /) -> Any:
        """Make the function a task."""
        ...


class HookedCpuBoundDecorator(ABC, Generic[M_con, X_con, R_con, E_con]):
    """For a `def` in a worker process."""

    @overload
    def __call__(
        self: _CpuBoundForAny, function: Callable[[M, X], TaskValue[R, E, S]], /
    ) -> PureTask[M, X, R, E, S]: ...
    @overload
    def __call__(
        self: HookedCpuBoundDecorator[M, X, R, E], function: Callable[[M, X], TaskValue[R, E, S]], /
    ) -> PureTask[M, X, R, E, S]: ...
    @abstractmethod
    def __call__(self, function: Callable[..., Any], /) -> Any:
        """Make the function a task."""
        ...
