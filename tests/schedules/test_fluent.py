"""`every`, `daily`, `weekly` and `monthly`: what they say, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta, timezone
from typing import Any

import pytest

from milepost.errors import ConfigurationError
from milepost.schedules.days import ShortMonths, Weekday
from milepost.schedules.fluent import daily, monthly, weekly
from milepost.schedules.interval import every
from milepost.schedules.when import When

AFTER = datetime(2026, 1, 1, tzinfo=UTC)  # a Thursday
HOUR = timedelta(hours=1)
SKIP = ShortMonths.SKIP
MONDAY, FRIDAY, SUNDAY = Weekday.MONDAY, Weekday.FRIDAY, Weekday.SUNDAY

NEXT: list[tuple[When, str, list[str]]] = [
    (daily(), "daily at 00:00 (UTC)", ["01-02 00:00", "01-03 00:00"]),
    (daily().at("3:00"), "daily at 03:00 (UTC)", ["01-01 03:00", "01-02 03:00"]),
    (
        daily().at("17:00", "09:00:30"),
        "daily at 09:00:30 and 17:00 (UTC)",
        ["01-01 09:00", "01-01 17:00", "01-02 09:00"],
    ),
    (daily().at(time(9)).at("17:00").at("9:00"), "daily at 09:00 and 17:00 (UTC)", ["01-01 09:00", "01-01 17:00"]),
    (daily().at("3:00").in_timezone("Europe/Rome"), "daily at 03:00 (Europe/Rome)", ["01-01 02:00"]),
    (weekly(), "weekly on Monday at 00:00 (UTC)", ["01-05 00:00", "01-12 00:00"]),
    (
        weekly().on(FRIDAY, MONDAY).on(FRIDAY).at("09:00"),
        "weekly on Monday and Friday at 09:00 (UTC)",
        ["01-02 09:00", "01-05 09:00", "01-09 09:00"],
    ),
    (monthly(), "monthly on day 1 at 00:00 (UTC)", ["02-01 00:00", "03-01 00:00"]),
    (
        monthly().on_day(31),
        "monthly on day 31, on the last day of shorter months, at 00:00 (UTC)",
        ["01-31 00:00", "02-28 00:00", "03-31 00:00", "04-30 00:00"],
    ),
    (
        monthly().on_day(31, short_months=SKIP).at("18:00"),
        "monthly on day 31, not in shorter months, at 18:00 (UTC)",
        ["01-31 18:00", "03-31 18:00", "05-31 18:00"],
    ),
    (
        monthly().on_day(29, 30).on_day(31),
        "monthly on days 29, 30 and 31, on the last day of shorter months, at 00:00 (UTC)",
        ["01-29 00:00", "01-30 00:00", "01-31 00:00", "02-28 00:00", "03-29 00:00"],
    ),
    (monthly().on_last_day(), "monthly on the last day at 00:00 (UTC)", ["01-31 00:00", "02-28 00:00", "03-31 00:00"]),
    (
        monthly().on_day(15).on_last_day(),
        "monthly on day 15 and the last day at 00:00 (UTC)",
        ["01-15 00:00", "01-31 00:00"],
    ),
    (monthly().on_the(1, MONDAY), "monthly on the first Monday at 00:00 (UTC)", ["01-05 00:00", "02-02 00:00"]),
    (monthly().on_the(-1, FRIDAY), "monthly on the last Friday at 00:00 (UTC)", ["01-30 00:00", "02-27 00:00"]),
    (monthly().on_the(5, SUNDAY), "monthly on the fifth Sunday at 00:00 (UTC)", ["03-29 00:00", "05-31 00:00"]),
    (
        monthly().on_day(1).in_months(4, 1, 7, 10).at("06:00"),
        "monthly on day 1 of January, April, July and October at 06:00 (UTC)",
        ["01-01 06:00", "04-01 06:00", "07-01 06:00"],
    ),
    (every(90 * timedelta(minutes=1)), "every 1 hour 30 minutes", ["01-01 01:30", "01-01 03:00", "01-01 04:30"]),
    (
        every(8 * HOUR, starting=datetime(2025, 12, 31, 22, tzinfo=UTC)),
        "every 8 hours, from 2025-12-31 22:00:00 UTC",
        ["01-01 06:00", "01-01 14:00"],
    ),
    (
        every(timedelta(weeks=2), starting=datetime(2026, 3, 1, 1, tzinfo=timezone(HOUR))),
        "every 2 weeks, from 2026-03-01 00:00:00 UTC",
        ["03-01 00:00", "03-15 00:00"],
    ),
]


@pytest.mark.parametrize(("when", "said", "expected"), NEXT, ids=[row[1] for row in NEXT])
def test_a_when_says_and_does_this(when: When, said: str, expected: list[str]) -> None:
    assert str(when) == said
    assert [f"{each:%m-%d %H:%M}" for each in when.preview(len(expected), after=AFTER)] == expected


def test_february_has_its_29th_in_leap_years() -> None:
    when = monthly().on_day(29, short_months=SKIP).in_months(2)
    assert [each.year for each in when.preview(2, after=AFTER)] == [2028, 2032]


def test_a_method_changes_a_copy() -> None:
    plain = daily()
    plain.at("03:00")
    assert plain == daily()


def test_the_order_in_which_things_are_said_makes_no_difference() -> None:
    assert daily().at("03:00").in_timezone("Europe/Rome").at("02:00") == daily().in_timezone("Europe/Rome").at(
        "02:00", "03:00"
    )


def test_an_interval_does_not_drift_over_a_century() -> None:
    when = every(timedelta(seconds=7.000001), starting=AFTER)
    following = when.next_after(AFTER + timedelta(days=36_525))
    assert following is not None
    assert (following - AFTER) % timedelta(seconds=7.000001) == timedelta(0)


def test_an_interval_without_a_start_counts_from_the_moment_that_it_is_asked_about() -> None:
    moment = AFTER + timedelta(seconds=17)
    assert every(HOUR).preview(2, after=moment) == [moment + HOUR, moment + 2 * HOUR]


def test_an_interval_does_nothing_before_its_start() -> None:
    when = every(HOUR, starting=AFTER)
    assert list(when.between(AFTER - timedelta(days=9), AFTER + 2 * HOUR)) == [AFTER, AFTER + HOUR]


def test_an_interval_longer_than_all_time_never_comes() -> None:
    assert every(timedelta.max).next_after(AFTER) is None


REFUSED: list[tuple[Callable[[Any], object], str]] = [
    (lambda _: daily().at(), r"at\(\) needs a time of the day"),
    (lambda _: daily().at("24:00"), "a time of the day is text such as .*got '24:00'"),
    (lambda _: daily().at("3 pm"), "got '3 pm'"),
    (lambda _: daily().at("٣:00"), "got '٣:00'"),
    (lambda _: daily().at(time(3, tzinfo=UTC)), "in_timezone says which"),
    (lambda _: daily().at(time(3, microsecond=1)), "of whole seconds"),
    (lambda any_: daily().at(any_(3)), "got 3"),
    (lambda _: weekly().on(), r"on\(\) needs a day of the week, as in .on\(MONDAY\)"),
    (lambda any_: weekly().on(any_("monday")), "one of MONDAY to SUNDAY, got 'monday'"),
    (lambda _: monthly().on_day(), r"on_day\(\) needs a day of the month"),
    (lambda _: monthly().on_day(32), "a day of the month is 1 to 31, or on_last_day\\(\\), got 32"),
    (lambda _: monthly().on_day(0), "got 0"),
    (lambda _: monthly().on_day(True), "got True"),
    (lambda any_: monthly().on_day(1, short_months=any_("skip")), "short_months is ShortMonths.LAST_DAY or SKIP"),
    (lambda _: monthly().on_day(30, short_months=SKIP).in_months(2), "no chosen month ever has day 30"),
    (lambda _: monthly().on_the(6, MONDAY), r"on_the\(\) needs a number from 1 to 5, or -1 for the last, got 6"),
    (lambda any_: monthly().on_the(1, any_(1)), "one of MONDAY to SUNDAY, got 1"),
    (lambda _: monthly().in_months(), r"in_months\(\) needs a month"),
    (lambda _: monthly().in_months(13), "a month is 1 to 12, got 13"),
    (lambda _: every(timedelta(0)), r"every\(\) needs a timedelta above zero, .*got datetime.timedelta\(0\)"),
    (lambda _: every(-HOUR), "above zero"),
    (lambda any_: every(any_(10)), r"as in every\(timedelta\(minutes=10\)\), got 10"),
    (lambda _: every(HOUR, starting=datetime(2026, 1, 1)), "starting of every.* needs an aware datetime"),
]


@pytest.mark.parametrize(("make", "complaint"), REFUSED, ids=[row[1][:40] for row in REFUSED])
def test_what_makes_no_sense_is_refused_with_the_fix(make: Callable[[Any], object], complaint: str) -> None:
    def anything(value: object) -> Any:
        return value

    with pytest.raises(ConfigurationError, match=complaint):
        make(anything)
