"""`every`: the same time from each instant to the next, whatever the clocks on the wall do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import final

import attrs
from attrs import frozen

from milepost.errors import ConfigurationError
from milepost.kinds import is_a
from milepost.schedules.occurrences import Occurrences, in_utc
from milepost.text import shown

_UNITS = (
    ("week", timedelta(weeks=1)),
    ("day", timedelta(days=1)),
    ("hour", timedelta(hours=1)),
    ("minute", timedelta(minutes=1)),
    ("second", timedelta(seconds=1)),
    ("millisecond", timedelta(milliseconds=1)),
    ("microsecond", timedelta(microseconds=1)),
)


@final
@frozen
class Every(Occurrences):
    """An instant per interval of elapsed time, counted from `starting`, which is the first of them.

    Without `starting` it counts from the moment that it is asked about; a schedule then counts from its first day.
    Raises `ConfigurationError` for an interval that is not above zero.
    """

    interval: timedelta
    starting: datetime | None = None

    def __attrs_post_init__(self) -> None:
        if not is_a(self.interval, timedelta) or self.interval <= timedelta(0):
            raise ConfigurationError(
                f"every() needs a timedelta above zero, as in every(timedelta(minutes=10)), got {shown(self.interval)}"
            )
        if self.starting is not None:
            object.__setattr__(self, "starting", in_utc("starting of every()", self.starting))

    def anchored(self, at: datetime) -> Every:
        """The same, counted from `at` unless it has a start of its own."""
        return self if self.starting is not None else attrs.evolve(self, starting=at)

    def after(self, instant: datetime) -> Iterator[datetime]:
        """The instants after `instant`: counted, not added up, so that none drifts."""
        start = instant if self.starting is None else self.starting
        number = max((instant - start) // self.interval + 1, 0)
        try:
            while True:
                yield start + number * self.interval
                number += 1
        except OverflowError:
            return

    def __str__(self) -> str:
        counted = "" if self.starting is None else f", from {self.starting:%Y-%m-%d %H:%M:%S} UTC"
        return f"every {duration(self.interval)}{counted}"


def every(interval: timedelta, *, starting: datetime | None = None) -> Every:
    """Once per `interval` of elapsed time; `starting`, an aware datetime, is the first instant.

    >>> from datetime import UTC
    >>> print(every(timedelta(minutes=90)))
    every 1 hour 30 minutes
    >>> every(timedelta(hours=8), starting=datetime(2026, 1, 1, tzinfo=UTC)).next_after(
    ...     datetime(2026, 1, 1, 9, tzinfo=UTC)
    ... )
    datetime.datetime(2026, 1, 1, 16, 0, tzinfo=datetime.timezone.utc)
    """
    return Every(interval, starting)


def duration(span: timedelta) -> str:
    """A span in words.

    >>> duration(timedelta(days=8)), duration(timedelta(seconds=90))
    ('1 week 1 day', '1 minute 30 seconds')
    """
    words: list[str] = []
    rest = span
    for unit, length in _UNITS:
        count, rest = divmod(rest, length)
        if count:
            words.append(f"{count} {unit}{'' if count == 1 else 's'}")
    return " ".join(words) or "0 seconds"
