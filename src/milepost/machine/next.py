"""What a handler of a state machine answers with when the machine is to take a step."""

from __future__ import annotations

from typing import Any, Generic, Never, TypeAlias, TypeVar, cast, final

from attrs import frozen
from typing_extensions import TypeIs
from typing_extensions import TypeVar as DefaultTypeVar

from milepost.errors import InvalidResult
from milepost.results import Cancellation, Failure, Success, Suspended, TaskResult, Unchanged

S_co = DefaultTypeVar("S_co", covariant=True, default=Any)
R_co = DefaultTypeVar("R_co", covariant=True, default=Never)
E_co = DefaultTypeVar("E_co", covariant=True, default=Never)
S = TypeVar("S")
R = TypeVar("R")
E = TypeVar("E")

RESULTS = (Success, Suspended, Failure, Cancellation)


def is_result(value: object) -> TypeIs[TaskResult[Any, Any, Any]]:
    """Whether it is one of the four; an unfinished builder is not."""
    return isinstance(value, RESULTS)


@final
@frozen
class Next(Generic[S_co, R_co, E_co]):
    """A step of a state machine: into which state, and whether the run ends there.

    Annotate a handler that goes on with `Next[Shipped]`, one that may end with `Next[Shipped, Receipt, OrderError]`.
    """

    target: S_co
    outcome: TaskResult[R_co, E_co] | None = None

    @staticmethod
    def state(state: S) -> Next[S]:
        """Commit `state` and go on with its handler.

        >>> Next.state("shipped")
        Next(target='shipped', outcome=None)
        """
        return Next(state)

    def with_outcome(self, outcome: TaskResult[R, E]) -> Next[S_co, R, E]:
        """Commit the state and end the run with `outcome`; a Suspended is stored together with the state.

        The other three are stored right after the state: a run that is killed in between goes on with its handler.
        Raises `InvalidResult` for what is none of the four results, and for a Suspended with a state of its own.
        """
        given = cast("object", outcome)  # no checker has seen what an unannotated handler gives
        if not is_result(given):
            raise InvalidResult(
                f"with_outcome() got a {type(given).__name__}, which is none of Success, Suspended, Failure, "
                "Cancellation; an unfinished builder is not a result"
            )
        if isinstance(given, Suspended) and not isinstance(given.execution_metadata, Unchanged):
            raise InvalidResult(
                "with_outcome() got a Suspended with a state of its own, and Next.state() has one already: "
                "give the state to Next.state() only"
            )
        return Next(self.target, outcome)


def is_next(value: object) -> TypeIs[Next[Any, Any, Any]]:
    """Whether it is a step."""
    return isinstance(value, Next)


Answer: TypeAlias = Next[S, R, E] | TaskResult[R, E, S]
"""What a handler may return."""
