"""Days and times as the fluent schedules name them, and which days of a month they are."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterable, Sequence
from datetime import date, time
from enum import Enum
from typing import Final, final

from attrs import frozen

from milepost.errors import ConfigurationError
from milepost.kinds import is_a

LAST_DAY: Final = -1
MONTHS: Final = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_TIME: Final = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?")
_ORDINALS: Final = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth", -1: "last"}
_DAYS_MAX: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class Weekday(Enum):
    """A day of the week; its `value` is what is stored."""

    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"

    def __str__(self) -> str:
        return self.value.capitalize()


WEEK: Final = tuple(Weekday)


class ShortMonths(Enum):
    """What day 31 means in a month that has no such day."""

    LAST_DAY = "last_day"
    SKIP = "skip"


@final
@frozen
class NthWeekday:
    """Such as the second Tuesday of a month; -1 is the last one."""

    number: int
    weekday: Weekday

    def __attrs_post_init__(self) -> None:
        checked_weekdays([self.weekday])
        if type(self.number) is not int or self.number not in _ORDINALS:
            raise ConfigurationError(f"on_the() needs a number from 1 to 5, or -1 for the last, got {self.number!r}")

    def __str__(self) -> str:
        return f"the {_ORDINALS[self.number]} {self.weekday}"

    def in_month(self, year: int, month: int) -> int | None:
        """The day of the month that it is; None where there is no fifth one."""
        first_weekday, last = monthrange(year, month)
        first = 1 + (WEEK.index(self.weekday) - first_weekday) % 7
        day = first + (last - first) // 7 * 7 if self.number == -1 else first + 7 * (self.number - 1)
        return day if day <= last else None


def days_of(
    year: int, month: int, days: Sequence[int], nth_weekdays: Sequence[NthWeekday], short_months: ShortMonths
) -> list[date]:
    """The chosen days of one month, rising."""
    last = monthrange(year, month)[1]
    chosen = {each if 0 < each <= last else last for each in days if _has(each, last, short_months)}
    chosen.update(day for each in nth_weekdays if (day := each.in_month(year, month)) is not None)
    return [date(year, month, day) for day in sorted(chosen)]


def check_some_month_has_one(days: Sequence[int], months: Sequence[int], short_months: ShortMonths) -> None:
    """Raise `ConfigurationError` for days that none of the months ever has."""
    if not any(_has(each, _DAYS_MAX[month - 1], short_months) for each in days for month in months or range(1, 13)):
        raise ConfigurationError(
            f"no chosen month ever has day {min(days)}: choose another day or month, or take ShortMonths.SKIP away"
        )


def checked_times(times: Iterable[str | time]) -> tuple[time, ...]:
    """Times of the day, rising; raises `ConfigurationError` for what is none."""
    return tuple(sorted({_checked_time(each) for each in times}))


def checked_weekdays(weekdays: Iterable[Weekday]) -> tuple[Weekday, ...]:
    """Days of the week, from Monday on; raises `ConfigurationError` for what is none."""
    given = list(weekdays)
    for each in given:
        if not is_a(each, Weekday):
            raise ConfigurationError(f"a day of the week is one of MONDAY to SUNDAY, got {each!r}")
    return tuple(sorted(set(given), key=WEEK.index))


def checked_days(days: Iterable[int]) -> tuple[int, ...]:
    """Days of the month, rising, the last day last; raises `ConfigurationError` for what is none."""
    given = list(days)
    for each in given:
        if type(each) is not int or not (1 <= each <= 31 or each == LAST_DAY):
            raise ConfigurationError(f"a day of the month is 1 to 31, or on_last_day(), got {each!r}")
    return tuple(sorted(set(given), key=lambda day: 32 if day == LAST_DAY else day))


def checked_months(months: Iterable[int]) -> tuple[int, ...]:
    """Months, rising; raises `ConfigurationError` for what is none."""
    given = list(months)
    for each in given:
        if type(each) is not int or not 1 <= each <= 12:
            raise ConfigurationError(f"a month is 1 to 12, got {each!r}")
    return tuple(sorted(set(given)))


def distinct_weekdays(weekdays: Iterable[NthWeekday]) -> tuple[NthWeekday, ...]:
    """The first before the last, and from Monday on; none twice."""
    return tuple(sorted(set(weekdays), key=lambda each: (each.number == -1, each.number, WEEK.index(each.weekday))))


def shown_time(moment: time) -> str:
    """A time of the day, with its seconds if there are any."""
    return moment.isoformat("seconds" if moment.second else "minutes")


def listed(parts: Iterable[object]) -> str:
    """Parts as a sentence has them.

    >>> listed([1, 2, 3]), listed([1])
    ('1, 2 and 3', '1')
    """
    words = [str(each) for each in parts]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _has(day: int, last: int, short_months: ShortMonths) -> bool:
    return day <= last or short_months is ShortMonths.LAST_DAY


def _checked_time(given: object) -> time:
    if isinstance(given, time) and given.tzinfo is None and not given.microsecond:
        return given.replace(fold=0)
    found = _TIME.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        raise ConfigurationError(
            f'a time of the day is text such as "03:00" or "23:59:30", or a time of whole seconds without a zone '
            f"(in_timezone says which), got {given!r}"
        )
    hour, minute, second = found.groups(default="0")
    return time(int(hour), int(minute), int(second))
