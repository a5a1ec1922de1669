"""Clock changes: what falls into a gap fires once, right after it, and a repeated hour fires once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from milepost.schedules.crontab import cron
from milepost.schedules.days import Weekday
from milepost.schedules.fluent import daily, monthly, weekly
from milepost.schedules.interval import Every, every
from milepost.schedules.when import When
from tests.schedules.walls import HOUR, Minutes, changes

# Three years of each; those of São Paulo and Apia while their clocks still changed at midnight and by a day.
YEARS = {
    "Europe/Rome": (2023, 2024, 2025),
    "America/New_York": (2023, 2024, 2025),
    "Australia/Lord_Howe": (2023, 2024, 2025),  # by half an hour
    "Africa/Casablanca": (2022, 2023, 2024),  # around Ramadan
    "America/Sao_Paulo": (2017, 2018, 2019),  # at midnight
    "Pacific/Apia": (2010, 2011, 2012),  # 30 December 2011 does not exist
    "Asia/Kathmandu": (2023, 2024, 2025),  # never, and 5:45 from UTC
}
CHANGES = {
    "Europe/Rome": 6,
    "America/New_York": 6,
    "Australia/Lord_Howe": 6,
    "Africa/Casablanca": 6,
    "America/Sao_Paulo": 5,
    "Pacific/Apia": 6,
    "Asia/Kathmandu": 0,
}
SUNDAY = 6


def _times(*times: tuple[int, int]) -> Callable[[datetime], bool]:
    return lambda wall: (wall.hour, wall.minute) in times


def _is_last_sunday(wall: datetime) -> bool:
    return wall.weekday() == SUNDAY and (wall + timedelta(days=7)).month != wall.month


NAMED_TIMES: list[tuple[Callable[[str], When], Callable[[datetime], bool]]] = [
    (lambda zone: daily().in_timezone(zone), _times((0, 0))),
    (lambda zone: daily().at("02:30").in_timezone(zone), _times((2, 30))),
    (
        lambda zone: daily().at("00:00", "00:30", "01:30", "02:00", "02:15", "03:00", "23:30").in_timezone(zone),
        _times((0, 0), (0, 30), (1, 30), (2, 0), (2, 15), (3, 0), (23, 30)),
    ),
    (
        lambda zone: weekly().on(Weekday.SATURDAY, Weekday.SUNDAY).at("00:10", "02:10").in_timezone(zone),
        lambda wall: wall.weekday() >= 5 and (wall.hour, wall.minute) in [(0, 10), (2, 10)],
    ),
    (
        lambda zone: monthly().on_the(-1, Weekday.SUNDAY).at("02:30").in_timezone(zone),
        lambda wall: _is_last_sunday(wall) and (wall.hour, wall.minute) == (2, 30),
    ),
    (
        lambda zone: monthly().on_day(10, 12, 30).at("02:05", "10:00").in_timezone(zone),
        lambda wall: wall.day in (10, 12, 30) and (wall.hour, wall.minute) in [(2, 5), (10, 0)],
    ),
    (lambda zone: cron("30 2 * * *", timezone=zone), _times((2, 30))),
    (lambda zone: cron("*/20 0-3 * * *", timezone=zone), lambda wall: wall.hour < 4 and wall.minute % 20 == 0),
    (lambda zone: cron("15 */2 * * *", timezone=zone), lambda wall: wall.hour % 2 == 0 and wall.minute == 15),
    (lambda zone: cron("0 30 1,2,23 * * *", timezone=zone), _times((1, 30), (2, 30), (23, 30))),
    (
        lambda zone: cron("0 0 * * SUN", timezone=zone),
        lambda wall: wall.weekday() == SUNDAY and (wall.hour, wall.minute) == (0, 0),
    ),
]
EVERY_HOUR: list[tuple[Callable[[str], When], Callable[[datetime], bool]]] = [
    (lambda zone: cron("*/30 * * * *", timezone=zone), lambda wall: wall.minute % 30 == 0),
    (lambda zone: cron("15 * * * *", timezone=zone), lambda wall: wall.minute == 15),
    (
        lambda zone: cron("0 */15 * * * SUN", timezone=zone),
        lambda wall: wall.weekday() == SUNDAY and wall.minute % 15 == 0,
    ),
    (lambda zone: cron("40 0-23 * * *", timezone=zone), lambda wall: wall.minute == 40),
]


def _windows(zone: str) -> list[Minutes]:
    found = [change for year in YEARS[zone] for change in changes(zone, year)]
    assert len(found) == CHANGES[zone]
    quiet = [datetime(year, 6, 3, tzinfo=UTC) for year in YEARS[zone]]
    return [Minutes(zone, each) for each in [*found, *quiet]]


@pytest.mark.slow
@pytest.mark.parametrize("zone", YEARS)
def test_named_times_fire_once_whatever_the_clocks_do(zone: str) -> None:
    for minutes in _windows(zone):
        for make, fits in NAMED_TIMES:
            when = make(zone)
            fired = list(when.between(minutes.start, minutes.end))
            assert fired == minutes.once_each(fits), f"{when} around {minutes.around}"


@pytest.mark.slow
@pytest.mark.parametrize("zone", YEARS)
def test_a_cron_of_every_hour_goes_on_through_a_change(zone: str) -> None:
    for minutes in _windows(zone):
        for make, fits in EVERY_HOUR:
            when = make(zone)
            fired = list(when.between(minutes.start, minutes.end))
            assert fired == minutes.all_that_fit(fits), f"{when} around {minutes.around}"


@pytest.mark.parametrize("zone", YEARS)
def test_an_interval_knows_no_clock_change(zone: str) -> None:
    anchor = datetime(YEARS[zone][0], 1, 1, tzinfo=ZoneInfo(zone))
    fired = every(7 * HOUR, starting=anchor).preview(4_000, after=anchor)
    assert fired == [anchor.astimezone(UTC) + number * 7 * HOUR for number in range(1, 4_001)]


TABLE: list[tuple[str, When, datetime, list[str]]] = [
    (
        "to summer time at 02:00: 02:30 does not exist",
        daily().at("02:30").in_timezone("Europe/Rome"),
        datetime(2024, 3, 29, 12),
        ["2024-03-30 02:30+01:00", "2024-03-31 03:00+02:00", "2024-04-01 02:30+02:00"],
    ),
    (
        "several times in one gap are one, and 03:00 is the same instant",
        daily().at("02:00", "02:30", "02:59", "03:00").in_timezone("Europe/Rome"),
        datetime(2024, 3, 30, 12),
        ["2024-03-31 03:00+02:00", "2024-04-01 02:00+02:00"],
    ),
    (
        "back from summer time at 03:00: 02:30 comes twice",
        daily().at("02:30").in_timezone("Europe/Rome"),
        datetime(2024, 10, 26, 12),
        ["2024-10-27 02:30+02:00", "2024-10-28 02:30+01:00"],
    ),
    (
        "cron of six fields keeps to the same rule",
        cron("0 30 2 * * *", timezone="Europe/Rome"),
        datetime(2024, 10, 26, 12),
        ["2024-10-27 02:30+02:00", "2024-10-28 02:30+01:00"],
    ),
    (
        "every other hour names hours too",
        cron("0 */2 * * *", timezone="Europe/Rome"),
        datetime(2024, 10, 26, 22),
        ["2024-10-27 00:00+02:00", "2024-10-27 02:00+02:00", "2024-10-27 04:00+01:00"],
    ),
    (
        "a cron of every hour runs on, so the repeated hour is gone through twice",
        cron("*/30 * * * *", timezone="Europe/Rome"),
        datetime(2024, 10, 27, 2, 0),
        ["2024-10-27 02:30+02:00", "2024-10-27 02:00+01:00", "2024-10-27 02:30+01:00", "2024-10-27 03:00+01:00"],
    ),
    (
        "and makes nothing up for a gap",
        cron("30 * * * *", timezone="Europe/Rome"),
        datetime(2024, 3, 31, 1, 0),
        ["2024-03-31 01:30+01:00", "2024-03-31 03:30+02:00"],
    ),
    (
        "by half an hour",
        daily().at("02:10").in_timezone("Australia/Lord_Howe"),
        datetime(2024, 10, 5, 12),
        ["2024-10-06 02:30+11:00", "2024-10-07 02:10+11:00"],
    ),
    (
        "back by half an hour",
        daily().at("01:45").in_timezone("Australia/Lord_Howe"),
        datetime(2024, 4, 6, 12),
        ["2024-04-07 01:45+11:00", "2024-04-08 01:45+10:30"],
    ),
    (
        "at midnight: the day begins at 01:00",
        daily().in_timezone("America/Sao_Paulo"),
        datetime(2018, 11, 2, 12),
        ["2018-11-03 00:00-03:00", "2018-11-04 01:00-02:00", "2018-11-05 00:00-02:00"],
    ),
    (
        "back at midnight: 23:30 comes twice in one day",
        daily().at("23:30").in_timezone("America/Sao_Paulo"),
        datetime(2018, 2, 17, 12),
        ["2018-02-17 23:30-02:00", "2018-02-18 23:30-03:00"],
    ),
    (
        "a whole day that does not exist",
        daily().at("10:00").in_timezone("Pacific/Apia"),
        datetime(2011, 12, 29, 9),
        ["2011-12-29 10:00-10:00", "2011-12-31 00:00+14:00", "2011-12-31 10:00+14:00"],
    ),
    (
        "its weekday too",
        weekly().on(Weekday.FRIDAY).at("10:00").in_timezone("Pacific/Apia"),
        datetime(2011, 12, 24),
        ["2011-12-31 00:00+14:00", "2012-01-06 10:00+14:00"],
    ),
    (
        "never, at an odd distance from UTC",
        daily().at("06:00").in_timezone("Asia/Kathmandu"),
        datetime(2024, 3, 30, 12),
        ["2024-03-31 06:00+05:45", "2024-04-01 06:00+05:45"],
    ),
]


@pytest.mark.parametrize(("what", "when", "after", "expected"), TABLE, ids=[row[0] for row in TABLE])
def test_the_table_of_clock_changes_holds(what: str, when: When, after: datetime, expected: list[str]) -> None:
    assert not isinstance(when, Every)
    zone = ZoneInfo(when.timezone)
    fired = when.preview(len(expected), after=after.replace(tzinfo=zone))
    assert [each.astimezone(zone).isoformat(" ", "minutes") for each in fired] == expected
    assert all(each.tzinfo is UTC for each in fired)


@pytest.mark.parametrize(("day", "count"), [((2024, 3, 31), 23), ((2024, 10, 27), 25), ((2024, 6, 1), 24)])
def test_a_cron_of_every_hour_fires_as_often_as_the_day_has_hours(day: tuple[int, int, int], count: int) -> None:
    start = datetime(*day, tzinfo=ZoneInfo("Europe/Rome"))
    fired = list(cron("30 * * * *", timezone="Europe/Rome").between(start, start + timedelta(days=1)))
    assert len(fired) == count


def test_whoever_asks_in_the_second_pass_of_a_repeated_hour_is_told_of_the_next_day() -> None:
    rome = ZoneInfo("Europe/Rome")
    second_pass = datetime(2024, 10, 27, 2, 10, tzinfo=rome, fold=1)
    assert daily().at("02:30").in_timezone("Europe/Rome").next_after(second_pass) == datetime(
        2024, 10, 28, 2, 30, tzinfo=rome
    )
