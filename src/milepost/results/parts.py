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
from milepost.kinds import is_a
from milepost.names import KEY_RULE, NAME_RULE, is_key, is_name
from milepost.text import shown

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
    UNTIL_FINISHED_FAIL_FAST = "until finished, fail fast"


class EventLike(Protocol):
    """What a result must know of an event that it waits for."""

    @property
    def name(self) -> str:
        """By which senders name it."""
        ...

    @property
    def payload(self) -> object:
        """The type of what comes with it."""
        ...


def name_of(event: EventLike | str) -> str:
    """By which senders name it; raises ValueError for what is no event, as a task."""
    if isinstance(event, str):
        return event
    if not (hasattr(event, "name") and hasattr(event, "payload")):
        raise ValueError(f"until_event() needs an event or its name, {NAME_RULE}, got {shown(event)}")
    return event.name


@final
@frozen
class UntilEvent:
    """A `Suspended` resumes with this event, or `within` this time; None: only with the event.

    Raises ValueError for what is no name or no key of an event, and for a time that is over at once.
    """

    event: str
    key: str
    within: timedelta | None = None

    def __attrs_post_init__(self) -> None:
        if not is_name(self.event):
            raise ValueError(f"until_event() needs an event or its name, {NAME_RULE}, got {shown(self.event)}")
        if not is_key(self.key):
            raise ValueError(f"until_event() needs a key, {KEY_RULE}, got {shown(self.key)}")
        if self.within is not None and (not is_a(self.within, timedelta) or self.within <= timedelta(0)):
            raise ValueError(
                f"until_event() needs a time above zero, or None to wait for ever, got {shown(self.within)}"
            )


class Final(Enum):
    """Overrides the retry policy: this failure is not retried."""

    FINAL = "final"


@frozen
class Carrying:
    """What every result can carry besides its answer, stored with it in one transaction: all or nothing."""

    follow_ups: tuple[FollowUp, ...] = field(default=(), kw_only=True)
    effects: tuple[Statement, ...] = field(default=(), kw_only=True)

    def then_enqueue(self, *requests: FollowUp) -> Self:
        """Enqueue `requests` when this result is stored; both exist or neither does.

        A Failure that is tried again, and a Suspended that a cancel has turned into an end, carry nothing out.
        """
        for request in requests:
            if not hasattr(request, "rejects_conflict"):
                raise TypeError(f"a follow-up is what task.with_metadata(...) or group(...) gives, got {request!r}")
            if request.rejects_conflict:
                raise ValueError(f"a follow-up cannot use REJECT, it would have nobody to refuse to: {request!r}")
        return attrs.evolve(self, follow_ups=self.follow_ups + requests)

    def with_effects(self, *statements: Statement) -> Self:
        """Run `statements` in the transaction that stores this result, in order, exactly once; not where `then_enqueue`
        would enqueue nothing either.
        """
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
