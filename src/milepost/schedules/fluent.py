"""`daily`, `weekly` and `monthly`: days of the calendar, times of the day, and a time zone, said one after the other.

Each method gives a changed copy, and adds to what was said before.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Self, final
from zoneinfo import ZoneInfo

import attrs
from attrs import field, frozen

from milepost.errors import ConfigurationError
from milepost.kinds import is_a
from milepost.schedules.days import (
    LAST_DAY,
    MONTHS,
    WEEK,
    NthWeekday,
    ShortMonths,
    Weekday,
    check_some_month_has_one,
    checked_days,
    checked_months,
    checked_times,
    checked_weekdays,
    days_of,
    distinct_weekdays,
    listed,
    shown_time,
)
from milepost.schedules.occurrences import Occurrences, instants_of
from milepost.schedules.zones import checked_timezone, wall_at, zone_of

_DAY = timedelta(days=1)


@frozen
class OnDays(Occurrences):
    """Some days of the calendar, each at the same times; at midnight unless times are given."""

    times: tuple[time, ...] = field(default=(), converter=checked_times, kw_only=True)
    timezone: str = field(default="UTC", converter=checked_timezone, kw_only=True)

    def at(self, *times: str | time) -> Self:
        """At these times of the day too, such as "03:00" or "23:59:30".

        Raises `ConfigurationError` for what is no time of the day.
        """
        if not times:
            raise ConfigurationError('at() needs a time of the day, as in .at("03:00")')
        return attrs.evolve(self, times=(*self.times, *times))

    def in_timezone(self, timezone: str | ZoneInfo) -> Self:
        """By the clocks of this time zone, such as "Europe/Rome", instead of UTC.

        Raises `ConfigurationError` with near matches for a zone that is unknown.
        """
        return attrs.evolve(self, timezone=timezone)

    def after(self, instant: datetime) -> Iterator[datetime]:
        """The instants after `instant`."""
        zone = zone_of(self.timezone)
        try:
            first = wall_at(instant, zone).date()
            walls = (datetime.combine(day, each) for day in self.dates(first) for each in self.times_of_day)
            yield from instants_of(walls, zone, instant)
        except (OverflowError, ValueError):  # the last year
            return

    @abstractmethod
    def dates(self, first: date) -> Iterator[date]:
        """The days from `first` on, rising; raises OverflowError or ValueError after the last year."""

    @property
    def times_of_day(self) -> tuple[time, ...]:
        """When on each day, rising."""
        return self.times or (time(),)

    def _at(self) -> str:
        return f"at {listed(map(shown_time, self.times_of_day))} ({self.timezone})"


@final
@frozen
class Daily(OnDays):
    """Each day."""

    def dates(self, first: date) -> Iterator[date]:
        """Each day from `first` on."""
        return _days_from(first)

    def __str__(self) -> str:
        return f"daily {self._at()}"


@final
@frozen
class Weekly(OnDays):
    """Some days of each week; Monday unless days are given."""

    weekdays: tuple[Weekday, ...] = field(default=(), converter=checked_weekdays)

    def on(self, *weekdays: Weekday) -> Self:
        """On these days of the week too, such as MONDAY."""
        if not weekdays:
            raise ConfigurationError("on() needs a day of the week, as in .on(MONDAY)")
        return attrs.evolve(self, weekdays=(*self.weekdays, *weekdays))

    def dates(self, first: date) -> Iterator[date]:
        """These days of each week from `first` on."""
        chosen = {WEEK.index(each) for each in self._chosen()}
        return (day for day in _days_from(first) if day.weekday() in chosen)

    def _chosen(self) -> tuple[Weekday, ...]:
        return self.weekdays or (Weekday.MONDAY,)

    def __str__(self) -> str:
        return f"weekly on {listed(self._chosen())} {self._at()}"


@final
@frozen
class Monthly(OnDays):
    """Some days of each month, or of some months; the first unless days are given. Of `days`, -1 is the last one.

    Raises `ConfigurationError` for days that no chosen month ever has.
    """

    days: tuple[int, ...] = field(default=(), converter=checked_days)
    nth_weekdays: tuple[NthWeekday, ...] = field(default=(), converter=distinct_weekdays)
    months: tuple[int, ...] = field(default=(), converter=checked_months)
    short_months: ShortMonths = ShortMonths.LAST_DAY

    def __attrs_post_init__(self) -> None:
        if not is_a(self.short_months, ShortMonths):
            raise ConfigurationError(f"short_months is ShortMonths.LAST_DAY or SKIP, got {self.short_months!r}")
        if self.days and not self.nth_weekdays:
            check_some_month_has_one(self.days, self.months, self.short_months)

    def on_day(self, *days: int, short_months: ShortMonths | None = None) -> Self:
        """On these days too, 1 to 31. Months that are too short have them on their last day, or with `SKIP` never."""
        if not days:
            raise ConfigurationError("on_day() needs a day of the month, as in .on_day(31)")
        chosen = self.short_months if short_months is None else short_months
        return attrs.evolve(self, days=(*self.days, *days), short_months=chosen)

    def on_last_day(self) -> Self:
        """On the last day of the month too."""
        return attrs.evolve(self, days=(*self.days, LAST_DAY))

    def on_the(self, number: int, weekday: Weekday) -> Self:
        """On the first (1) to fifth (5), or the last (-1), such weekday too; a month without a fifth one has none."""
        return attrs.evolve(self, nth_weekdays=(*self.nth_weekdays, NthWeekday(number, weekday)))

    def in_months(self, *months: int) -> Self:
        """In these months only, 1 to 12."""
        if not months:
            raise ConfigurationError("in_months() needs a month, as in .in_months(1, 7)")
        return attrs.evolve(self, months=(*self.months, *months))

    def dates(self, first: date) -> Iterator[date]:
        """These days of each month from `first` on."""
        year, month = first.year, first.month
        while True:
            if not self.months or month in self.months:
                found = days_of(year, month, self._chosen(), self.nth_weekdays, self.short_months)
                yield from (day for day in found if day >= first)
            year, month = (year + 1, 1) if month == 12 else (year, month + 1)

    def _chosen(self) -> tuple[int, ...]:
        return self.days or (() if self.nth_weekdays else (1,))

    def __str__(self) -> str:
        numbers = [each for each in self._chosen() if each != LAST_DAY]
        said = [f"day{'' if len(numbers) == 1 else 's'} {listed(numbers)}"] if numbers else []
        said += ["the last day"] if LAST_DAY in self.days else []
        said += map(str, self.nth_weekdays)
        months = f" of {listed(MONTHS[each - 1] for each in self.months)}" if self.months else ""
        short = ""
        if max(numbers, default=0) > 28:
            kept = self.short_months is ShortMonths.LAST_DAY
            short = ", on the last day of shorter months," if kept else ", not in shorter months,"
        return f"monthly on {listed(said)}{months}{short} {self._at()}"


def daily() -> Daily:
    """Each day at midnight, UTC, until more is said.

    >>> print(daily().at("03:00", "15:30").in_timezone("Europe/Rome"))
    daily at 03:00 and 15:30 (Europe/Rome)
    """
    return Daily()


def weekly() -> Weekly:
    """Each Monday at midnight, UTC, until more is said.

    >>> print(weekly().on(Weekday.MONDAY, Weekday.FRIDAY).at("09:00"))
    weekly on Monday and Friday at 09:00 (UTC)
    """
    return Weekly()


def monthly() -> Monthly:
    """On the first of each month at midnight, UTC, until more is said.

    >>> print(monthly().on_day(31).at("18:00"))
    monthly on day 31, on the last day of shorter months, at 18:00 (UTC)
    >>> print(monthly().on_the(1, Weekday.MONDAY).on_last_day().in_months(1, 7))
    monthly on the last day and the first Monday of January and July at 00:00 (UTC)
    """
    return Monthly()


def _days_from(first: date) -> Iterator[date]:
    day = first
    while True:
        yield day
        day += _DAY
