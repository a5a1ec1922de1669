"""What operators have said of a queue, as one value, and how a change is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Final, TypeVar, final

import attrs
from attrs import field, frozen

from milepost.errors import ConfigurationError
from milepost.text import shown

T = TypeVar("T")

_NUMBER_MAX = 2**31 - 1


class WhenFull(Enum):
    """What becomes of a task that its queue has no room for."""

    REJECT = "reject"
    WAIT = "wait"
    SPILL = "spill"


@final
@frozen(kw_only=True)
class QueueSettings:
    """How a queue differs from one that nobody has said anything of, which is what the defaults are.

    `weight` is its share of free slots beside other queues. `concurrency` bounds how many of its tasks run at once in
    the whole fleet, `capacity` how many may wait in it; one too many is what `when_full` says: refused, kept waiting by
    its client, or put into `spill_to`.
    """

    name: str
    paused_at: datetime | None = None
    paused_reason: str = ""
    weight: int = 1
    concurrency: int | None = None
    capacity: int | None = None
    when_full: WhenFull = WhenFull.REJECT
    spill_to: str | None = None

    @property
    def is_paused(self) -> bool:
        """Whether none of its tasks starts."""
        return self.paused_at is not None

    @property
    def says_nothing(self) -> bool:
        """Whether the queue is like one that nobody has said anything of."""
        return self == QueueSettings(name=self.name)


class Unset(Enum):
    """Stands for what a change leaves as it is, where None takes something away."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


@final
@frozen(kw_only=True)
class QueueChanges:
    """What is to change of a queue's settings. Raises `ConfigurationError` for what is out of range."""

    weight: int | Unset = field(default=UNSET)
    concurrency: int | Unset | None = field(default=UNSET)
    capacity: int | Unset | None = field(default=UNSET)
    when_full: WhenFull | Unset = field(default=UNSET)
    spill_to: str | Unset | None = field(default=UNSET)

    def __attrs_post_init__(self) -> None:
        _check_number("weight", self.weight, or_none=False)
        _check_number("concurrency", self.concurrency, or_none=True)
        _check_number("capacity", self.capacity, or_none=True)
        if self.when_full not in (UNSET, *WhenFull):
            raise ConfigurationError(f"when_full of a queue is REJECT, WAIT or SPILL, got {shown(self.when_full)}")

    def made_to(self, before: QueueSettings) -> QueueSettings:
        """The settings after the change. Raises `ConfigurationError` for a `spill_to` that would do nothing."""
        after = attrs.evolve(
            before,
            weight=_or(self.weight, before.weight),
            concurrency=_or(self.concurrency, before.concurrency),
            capacity=_or(self.capacity, before.capacity),
            when_full=_or(self.when_full, before.when_full),
            spill_to=_or(self.spill_to, before.spill_to),
        )
        if isinstance(self.spill_to, str) and after.when_full is not WhenFull.SPILL:
            raise ConfigurationError(
                f"the queue {after.name!r} does not spill, so spill_to={self.spill_to!r} would do nothing: give it "
                f"when_full=WhenFull.SPILL too, it is {after.when_full.name}"
            )
        return after


def check_spilling(settings: QueueSettings, others: Mapping[str, QueueSettings]) -> None:
    """Raise `ConfigurationError` where what does not fit into the queue could go nowhere, or round in a circle."""
    if settings.when_full is WhenFull.SPILL and settings.spill_to is None:
        raise ConfigurationError(f"the queue {settings.name!r} is to SPILL when it is full: say where, with spill_to")
    path = [settings.name]
    following = settings.spill_to
    while following is not None:
        path.append(following)
        if following in path[:-1]:
            raise ConfigurationError(f"queues cannot spill in a circle: {' to '.join(map(repr, path))}")
        following = others[following].spill_to if following in others else None


def _or(value: T | Unset, before: T) -> T:
    return before if isinstance(value, Unset) else value


def _check_number(what: str, value: object, *, or_none: bool) -> None:
    if value is UNSET or (or_none and value is None):
        return
    if type(value) is not int or not 1 <= value <= _NUMBER_MAX:
        none = ", or None for no bound" if or_none else ""
        raise ConfigurationError(
            f"{what} of a queue is a whole number from 1 to {_NUMBER_MAX}{none}, got {shown(value)}"
        )
