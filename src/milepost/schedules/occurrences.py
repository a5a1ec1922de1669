"""What every kind of `When` can be asked: the next instant, those between two, the next few.

A kind says only in which order its instants follow each other; instants are aware, in UTC, and never the same twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, tzinfo
from itertools import islice, takewhile

from attrs import frozen

from milepost.clock import system_clock
from milepost.errors import ConfigurationError
from milepost.kinds import is_a
from milepost.schedules.zones import instant_of
from milepost.text import shown


@frozen
class Occurrences(ABC):
    """When something happens, again and again."""

    @abstractmethod
    def after(self, instant: datetime) -> Iterator[datetime]:
        """The instants after `instant`, in UTC, without an end or up to the last one that can be computed."""

    def next_after(self, instant: datetime) -> datetime | None:
        """The first instant later than `instant`, in UTC; None when none will come.

        Raises `ConfigurationError` for a naive datetime.
        """
        return next(self.after(in_utc("instant", instant)), None)

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """The instants from `start` on and before `end`, in UTC, each when it is asked for.

        Raises `ConfigurationError` for naive datetimes, and when `end` is before `start`.
        """
        first, last = in_utc("start", start), in_utc("end", end)
        if last < first:
            raise ConfigurationError(f"between() needs an end that is not before its start, got {start} and {end}")
        return takewhile(lambda instant: instant < last, self._from(first))

    def preview(self, count: int, *, after: datetime | None = None) -> list[datetime]:
        """The next `count` instants after a moment, or after now, in UTC; fewer when no more will come.

        Raises `ConfigurationError` for a naive datetime or a negative count.
        """
        if type(count) is not int or count < 0:
            raise ConfigurationError(f"preview() needs a count of 0 or more, got {count!r}")
        return list(islice(self.after(system_clock() if after is None else in_utc("after", after)), count))

    def _from(self, start: datetime) -> Iterator[datetime]:
        """The instants at or after `start`."""
        try:
            return self.after(start - datetime.resolution)
        except OverflowError:
            return self.after(start)


def in_utc(what: str, moment: datetime) -> datetime:
    """An aware datetime in UTC; raises `ConfigurationError` for a naive one, or what is no datetime."""
    if not is_a(moment, datetime) or moment.utcoffset() is None:
        raise ConfigurationError(
            f"{what} needs an aware datetime, such as datetime(..., tzinfo=UTC), got {shown(moment)}"
        )
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ConfigurationError(f"{what} is beyond what UTC can tell: {moment!r}") from None


def instants_of(walls: Iterable[datetime], zone: tzinfo, after: datetime) -> Iterator[datetime]:
    """The instants of rising wall times, from the first one later than `after`; several in one gap are one."""
    last = after
    for wall in walls:
        instant = instant_of(wall, zone)
        if instant > last:
            yield instant
            last = instant
