"""The small values that the four results are made of, and what every one of them can carry.

Below `answers`: nothing here knows the four. `Lawful` makes them containers of `returns`, at run time only.
"""

from __future__ import annotations

from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Generic, Never, Protocol, Self, final

import attrs
from attrs import field, frozen
from typing_extensions import TypeVar as DefaultTypeVar

from milepost.effects import Statement

R_co = DefaultTypeVar("R_co", covariant=True, default=Never)
E_co = DefaultTypeVar("E_co", covariant=True, default=Never)
X_co = DefaultTypeVar("X_co", covariant=True, default=Never)


@final
@frozen
class Empty:
    """Nothing to say: the metadata, execution metadata, result or error of a task that has none."""


class FollowUp(Protocol):
    """What a result must know of a request that it carries."""

    @property
    def rejects_conflict(self) -> bool:
        """Whether it would answer a taken key with a refusal."""
        ...


class Unchanged(Enum):
    """Stands where a `Suspended` carries no execution metadata: the last committed one stays."""

    UNCHANGED = "unchanged"


class Wake(Enum):
    """When a `Suspended` resumes, where that is not an instant or a delay."""

    AT_ONCE = "at once"
    UNTIL_FINISHED = "until finished"


class Final(Enum):
    """Overrides the retry policy: this failure is not retried."""

    FINAL = "final"


@frozen
class Carrying:
    """What every result can carry besides its answer, stored with it in one transaction: all or nothing."""

    follow_ups: tuple[FollowUp, ...] = field(default=(), kw_only=True)
    effects: tuple[Statement, ...] = field(default=(), kw_only=True)

    def then_enqueue(self, *requests: FollowUp) -> Self:
        """Enqueue `requests` when this result is stored; both exist or neither does."""
        for request in requests:
            if request.rejects_conflict:
                raise ValueError(f"a follow-up cannot use REJECT, it would have nobody to refuse to: {request!r}")
        return attrs.evolve(self, follow_ups=self.follow_ups + requests)

    def with_effects(self, *statements: Statement) -> Self:
        """Run `statements` in the transaction that stores this result, in order, exactly once."""
        return attrs.evolve(self, effects=self.effects + statements)

    def carrying(self, earlier: Carrying) -> Self:
        """This result with what `earlier` carries put before what it carries itself."""
        if not earlier.follow_ups and not earlier.effects:
            return self
        return attrs.evolve(
            self, follow_ups=earlier.follow_ups + self.follow_ups, effects=earlier.effects + self.effects
        )

    def __repr__(self) -> str:
        # The answer first, then what it carries; nothing that was left as it is by default.
        said = sorted(attrs.fields(type(self)), key=lambda each: each.kw_only)
        shown = [(each.name, getattr(self, each.name)) for each in said if getattr(self, each.name) is not each.default]
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown)})"


if TYPE_CHECKING:

    class Lawful(Generic[R_co, E_co, X_co]):
        """Plain generics for the checkers: `returns`' own interfaces are invariant and would need a plugin."""

        __slots__ = ()

else:
    from returns.interfaces.specific.result import ResultLike3
    from returns.primitives.hkt import SupportsKind3

    class Lawful(SupportsKind3["TaskValue", R_co, E_co, X_co], ResultLike3[R_co, E_co, X_co]):
        __slots__ = ()


def not_negative(delay: timedelta, verb: str) -> timedelta:
    """`delay`, or a ValueError that names the `verb` it was given to."""
    if delay < timedelta(0):
        raise ValueError(f"{verb}() needs a delay of zero or more, got {delay!r}")
    return delay
