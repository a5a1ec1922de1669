"""The four answers: one algebra on their base, four final classes, and the builders that finish in them."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Generic, Never, Self, TypeAlias, TypeVar, final

import attrs
from attrs import frozen
from returns.result import Failure as _ResultFailure
from returns.result import Result
from returns.result import Success as _ResultSuccess
from typing_extensions import TypeForm

from milepost.crash import Crash
from milepost.results.parts import (
    Carrying,
    E_co,
    Empty,
    EventLike,
    Final,
    Lawful,
    R_co,
    Unchanged,
    UntilEvent,
    Wake,
    X_co,
    name_of,
    not_negative,
)

R = TypeVar("R")
E = TypeVar("E")
X = TypeVar("X")
R2 = TypeVar("R2")
E2 = TypeVar("E2")
X2 = TypeVar("X2")
D = TypeVar("D")


class TaskValue(Lawful[R_co, E_co, X_co], ABC):
    """The common base of the four: accept this, return `TaskResult`."""

    __slots__ = ()

    def map(self: TaskValue[R, E, X], function: Callable[[R], R2]) -> TaskResult[R2, E, X]:
        """Change the result of a Success.

        >>> Success.with_result(2).map(lambda rows: rows * 10).value_or(0)
        20
        """
        match _variant(self):
            case Success() as success:
                return Success(function(success.result)).carrying(success)
            case Failure() | Suspended() | Cancellation() as other:
                return other.retyped()

    def alt(self: TaskValue[R, E, X], function: Callable[[E], E2]) -> TaskResult[R, E2, X]:
        """Change the error of a Failure or a Cancellation.

        >>> Failure.with_error("late").alt(str.upper) == Failure.with_error("LATE")
        True
        """
        match _variant(self):
            case Failure() as failure:
                return Failure(function(failure.error), failure.retry).carrying(failure)
            case Cancellation() as cancellation:
                return Cancellation(function(cancellation.error)).carrying(cancellation)
            case Success() | Suspended() as other:
                return other.retyped()

    def bind(
        self: TaskValue[R, E, X], function: Callable[[R], TaskValue[R2, E2, X2]]
    ) -> TaskResult[R2, E | E2, X | X2]:
        """Go on from a Success; its follow-ups and effects come before those of what follows."""
        match _variant(self):
            case Success() as success:
                return _variant(function(success.result)).carrying(success)
            case Failure() | Suspended() | Cancellation() as other:
                return other.retyped()

    def lash(
        self: TaskValue[R, E, X], function: Callable[[E], TaskValue[R2, E2, X2]]
    ) -> TaskResult[R | R2, E | E2, X | X2]:
        """Recover from a Failure (not from a Cancellation); its follow-ups and effects come first."""
        match _variant(self):
            case Failure() as failure:
                return _variant(function(failure.error)).carrying(failure)
            case Success() | Suspended() | Cancellation() as other:
                return other

    def apply(
        self: TaskValue[R, E, X], container: TaskValue[Callable[[R], R2], E2, X2]
    ) -> TaskResult[R2, E | E2, X | X2]:
        """Call the function that another result holds with the result of this one."""
        return self.bind(lambda value: container.map(lambda function: function(value)))

    def swap(self: TaskValue[R, E, X]) -> TaskResult[E, R | E, X]:
        """Exchange Success and Failure; the other two stay, and a Failure's retry hint is dropped."""
        match _variant(self):
            case Success() as success:
                return Failure(success.result).carrying(success)
            case Failure() as failure:
                return Success(failure.error).carrying(failure)
            case Suspended() as suspended:
                return suspended.retyped()
            case Cancellation() as cancellation:
                return Cancellation(cancellation.error).carrying(cancellation)

    def bind_result(self: TaskValue[R, E, X], function: Callable[[R], Result[R2, E2]]) -> TaskResult[R2, E | E2, X]:
        """`bind` for a function that answers with a `returns.Result`."""
        return self.bind(lambda value: from_result(function(value)))

    def value_or(self: TaskValue[R, E, X], default: D) -> R | D:
        """The result of a Success, else `default`."""
        match _variant(self):
            case Success(result=result):
                return result
            case Failure() | Suspended() | Cancellation():
                return default

    def to_result(
        self: TaskValue[R, E, X],
    ) -> Result[R, Failure[R, E] | Suspended[R, E, X] | Cancellation[R, E]]:
        """The bridge to `returns`: a Success's result, or whichever of the other three this is."""
        match _variant(self):
            case Success() as success:
                return _ResultSuccess(success.result)
            case Failure() | Suspended() | Cancellation() as other:
                return _ResultFailure(other)

    @classmethod
    def from_value(cls, inner_value: R) -> TaskResult[R, Never]:
        """A Success (the spelling that `returns` asks for)."""
        return Success(inner_value)

    @classmethod
    def from_failure(cls, inner_value: E) -> TaskResult[Never, E]:
        """A Failure (the spelling that `returns` asks for)."""
        return Failure(inner_value)

    @classmethod
    def from_result(cls, inner_value: Result[R, E]) -> TaskResult[R, E]:
        """The bridge from `returns`."""
        return from_result(inner_value)


def from_result(result: Result[R, E]) -> TaskResult[R, E]:
    """The bridge from `returns`: its Success becomes ours, its Failure becomes ours.

    >>> from_result(_ResultFailure("no such user")) == Failure.with_error("no such user")
    True
    """
    match result:
        case _ResultSuccess(value):
            return Success(value)
        case _ResultFailure(error):
            return Failure(error)
        case _:
            raise TypeError(f"expected a returns.Result, got {result!r}")


@final
@frozen(repr=False)
class Success(TaskValue[R_co, E_co, Never], Carrying, Generic[R_co, E_co]):
    """Done; the result is stored."""

    result: R_co

    @staticmethod
    def with_result(result: R) -> Success[R]:
        """A Success that holds `result`."""
        return Success(result)

    @staticmethod
    def with_empty_result() -> Success[Empty]:
        """A Success with nothing to tell."""
        return Success(Empty())

    def for_error(self, error: TypeForm[E]) -> Success[R_co, E]:
        """Name the error type that this task could have answered with."""
        return Success(self.result, follow_ups=self.follow_ups, effects=self.effects)

    def for_empty_error(self) -> Success[R_co, Empty]:
        """Short for `for_error(Empty)`."""
        return self.for_error(Empty)

    def retyped(self) -> Success[R_co]:
        """The same answer, for any type in the places that it leaves empty."""
        return Success(self.result, follow_ups=self.follow_ups, effects=self.effects)


@final
@frozen(repr=False)
class Failure(TaskValue[R_co, E_co, Never], Carrying, Generic[R_co, E_co]):
    """A typed, expected failure; retried if the task's policy says so."""

    error: E_co
    retry: timedelta | Final | None = None

    @staticmethod
    def with_error(error: E) -> Failure[Never, E]:
        """A Failure that holds `error`."""
        return Failure(error)

    @staticmethod
    def with_empty_error() -> Failure[Never, Empty]:
        """A Failure with nothing to tell."""
        return Failure(Empty())

    @staticmethod
    def for_result(result: TypeForm[R]) -> FailureFor[R]:
        """Name the result type that this task could have answered with; finish with `with_error`."""
        return FailureFor()

    @staticmethod
    def for_empty_result() -> FailureFor[Empty]:
        """Short for `for_result(Empty)`."""
        return FailureFor()

    def final(self) -> Self:
        """Whatever the policy says, do not retry."""
        return attrs.evolve(self, retry=Final.FINAL)

    def retry_after(self, delay: timedelta) -> Self:
        """Whatever the policy says, retry `delay` from now. Raises ValueError when `delay` is negative."""
        return attrs.evolve(self, retry=not_negative(delay, "retry_after"))

    def retyped(self) -> Failure[Never, E_co]:
        """The same answer, for any type in the places that it leaves empty."""
        return Failure(self.error, self.retry, follow_ups=self.follow_ups, effects=self.effects)


@final
@frozen
class FailureFor(Generic[R]):
    """An unfinished Failure: it lacks its error."""

    def with_error(self, error: E) -> Failure[R, E]:
        """Finish the Failure with `error`."""
        return Failure(error)

    def with_empty_error(self) -> Failure[R, Empty]:
        """Finish the Failure with nothing to tell."""
        return Failure(Empty())


@final
@frozen(repr=False)
class Suspended(TaskValue[R_co, E_co, X_co], Carrying, Generic[R_co, E_co, X_co]):
    """Parked without a slot or a lease, until somebody proceeds it or its own wake-up comes."""

    execution_metadata: X_co | Unchanged = Unchanged.UNCHANGED
    wake: datetime | timedelta | Wake | UntilEvent | None = None

    @staticmethod
    def with_execution_metadata(execution_metadata: X) -> SuspendedWith[X]:
        """Commit `execution_metadata` with the suspension; finish with `for_result` and `for_error`."""
        return SuspendedWith(execution_metadata)

    @staticmethod
    def for_result(result: TypeForm[R]) -> SuspendedFor[R, Never]:
        """Name the result type; finish with `for_error`."""
        return SuspendedFor(Unchanged.UNCHANGED)

    @staticmethod
    def for_empty_result() -> SuspendedFor[Empty, Never]:
        """Short for `for_result(Empty)`."""
        return SuspendedFor(Unchanged.UNCHANGED)

    def until(self, moment: datetime) -> Self:
        """Resume at `moment`, an aware datetime; a past one means at once. Raises ValueError for a naive one."""
        if moment.tzinfo is None:
            raise ValueError(f"until() needs an aware datetime, {moment!r} has no time zone")
        return attrs.evolve(self, wake=moment)

    def after(self, delay: timedelta) -> Self:
        """Resume `delay` after the suspension is stored. Raises ValueError when `delay` is negative."""
        return attrs.evolve(self, wake=not_negative(delay, "after"))

    def at_once(self) -> Self:
        """Resume in the next turn, behind what is already due."""
        return attrs.evolve(self, wake=Wake.AT_ONCE)

    def until_finished(self, *, fail_fast: bool = False) -> Self:
        """Resume once every task that this result enqueues is final; the next run has their outcomes as
        `execution.children`. With `fail_fast` the first that ends without a success has the others cancelled.
        """
        return attrs.evolve(self, wake=Wake.UNTIL_FINISHED_FAIL_FAST if fail_fast else Wake.UNTIL_FINISHED)

    def until_event(self, event: EventLike | str, key: str, *, within: timedelta | None = None) -> Self:
        """Resume once somebody sends this event under this key, or has sent it already and nobody has taken it.

        The next run has what came as `execution.received(event)`: None once it has waited `within` this time in vain,
        or was proceeded. Raises ValueError for what is no name or key, and for a time that is not above zero.
        """
        return attrs.evolve(self, wake=UntilEvent(name_of(event), key, within))

    def retyped(self) -> Suspended[Never, Never, X_co]:
        """The same answer, for any type in the places that it leaves empty."""
        return Suspended(self.execution_metadata, self.wake, follow_ups=self.follow_ups, effects=self.effects)


@final
@frozen
class SuspendedWith(Generic[X_co]):
    """An unfinished Suspended: it lacks its result type and its error type."""

    execution_metadata: X_co

    def for_result(self, result: TypeForm[R]) -> SuspendedFor[R, X_co]:
        """Name the result type; finish with `for_error`."""
        return SuspendedFor(self.execution_metadata)

    def for_empty_result(self) -> SuspendedFor[Empty, X_co]:
        """Short for `for_result(Empty)`."""
        return SuspendedFor(self.execution_metadata)


@final
@frozen
class SuspendedFor(Generic[R, X_co]):
    """An unfinished Suspended: it lacks its error type."""

    execution_metadata: X_co | Unchanged

    def for_error(self, error: TypeForm[E]) -> Suspended[R, E, X_co]:
        """Finish the Suspended."""
        return Suspended(self.execution_metadata)

    def for_empty_error(self) -> Suspended[R, Empty, X_co]:
        """Short for `for_error(Empty)`."""
        return Suspended(self.execution_metadata)


@final
@frozen(repr=False)
class Cancellation(TaskValue[R_co, E_co, Never], Carrying, Generic[R_co, E_co]):
    """The task gave up on purpose; never retried."""

    error: E_co

    @staticmethod
    def with_error(error: E) -> Cancellation[Never, E]:
        """A Cancellation that says why."""
        return Cancellation(error)

    @staticmethod
    def with_empty_error() -> Cancellation[Never, Empty]:
        """A Cancellation with nothing to tell."""
        return Cancellation(Empty())

    @staticmethod
    def for_result(result: TypeForm[R]) -> CancellationFor[R]:
        """Name the result type; finish with `with_error`."""
        return CancellationFor()

    @staticmethod
    def for_empty_result() -> CancellationFor[Empty]:
        """Short for `for_result(Empty)`."""
        return CancellationFor()

    def retyped(self) -> Cancellation[Never, E_co]:
        """The same answer, for any type in the places that it leaves empty."""
        return Cancellation(self.error, follow_ups=self.follow_ups, effects=self.effects)


@final
@frozen
class CancellationFor(Generic[R]):
    """An unfinished Cancellation: it lacks its error."""

    def with_error(self, error: E) -> Cancellation[R, E]:
        """Finish the Cancellation with `error`."""
        return Cancellation(error)

    def with_empty_error(self) -> Cancellation[R, Empty]:
        """Finish the Cancellation with nothing to tell."""
        return Cancellation(Empty())


TaskResult: TypeAlias = (
    Success[R_co, E_co] | Suspended[R_co, E_co, X_co] | Failure[R_co, E_co] | Cancellation[R_co, E_co]
)
"""What a task returns: `TaskResult[R, E]`, or `TaskResult[R, E, X]` where a Suspended carries execution metadata."""

Outcome: TypeAlias = Success[R_co, E_co] | Failure[R_co, E_co] | Cancellation[R_co, E_co] | Crash
"""What a reader of a finished task gets. Read back, it carries neither follow-ups nor effects nor retry hints."""


def _variant(value: TaskValue[R, E, X]) -> TaskResult[R, E, X]:
    if isinstance(value, Success | Suspended | Failure | Cancellation):
        return value
    raise TypeError(f"expected one of the four task results, got {value!r}; an unfinished builder is not a result")
