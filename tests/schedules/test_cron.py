"""Cron expressions: what they mean, and what is said of those that mean nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.errors import ConfigurationError
from milepost.schedules.cron_text import ALIASES
from milepost.schedules.crontab import cron

AFTER = datetime(2026, 1, 1, tzinfo=UTC)  # a Thursday

NEXT: list[tuple[str, str]] = [
    ("0 3 * * *", "2026-01-01 03:00:00"),
    ("*/20 * * * *", "2026-01-01 00:20:00"),
    ("5/20 * * * *", "2026-01-01 00:05:00"),
    ("10-40/15 9 * * *", "2026-01-01 09:10:00"),
    ("0 9,17 * * *", "2026-01-01 09:00:00"),
    ("0 0 * * SUN", "2026-01-04 00:00:00"),
    ("0 0 * * 0", "2026-01-04 00:00:00"),
    ("0 0 * * 7", "2026-01-04 00:00:00"),
    ("0 0 * * sat-sun", "2026-01-03 00:00:00"),
    ("0 0 * FEB mon", "2026-02-02 00:00:00"),
    ("0 0 L * *", "2026-01-31 00:00:00"),
    ("0 0 LW * *", "2026-01-30 00:00:00"),
    ("0 0 * * 5L", "2026-01-30 00:00:00"),
    ("0 0 * * MON#2", "2026-01-12 00:00:00"),
    ("0 0 29 2 *", "2028-02-29 00:00:00"),
    ("0 0 ? * MON", "2026-01-05 00:00:00"),
    ("0 0 15 * ?", "2026-01-15 00:00:00"),
    ("30 0 3 * * *", "2026-01-01 03:00:30"),
    ("*/15 * * * * *", "2026-01-01 00:00:15"),
    ("0 0 12 ? * 1", "2026-01-05 12:00:00"),
    ("0 0 13 * FRI", "2026-01-02 00:00:00"),  # either of them, as in every cron
    ("0 0 */2 * MON", "2026-01-05 00:00:00"),  # both, where one begins with a star
    ("@hourly", "2026-01-01 01:00:00"),
    ("@Daily", "2026-01-02 00:00:00"),
    ("@midnight", "2026-01-02 00:00:00"),
    ("@weekly", "2026-01-04 00:00:00"),
    ("@monthly", "2026-02-01 00:00:00"),
    ("@yearly", "2027-01-01 00:00:00"),
    ("@annually", "2027-01-01 00:00:00"),
]


@pytest.mark.parametrize(("expression", "expected"), NEXT)
def test_the_next_instant_of_an_expression_is_this(expression: str, expected: str) -> None:
    following = cron(expression).next_after(AFTER)
    assert following is not None
    assert f"{following:%Y-%m-%d %H:%M:%S}" == expected


def test_seconds_come_first_where_there_are_six_fields() -> None:
    fired = cron("10,50 30 2 * * *").preview(3, after=AFTER)
    assert [f"{each:%d %H:%M:%S}" for each in fired] == ["01 02:30:10", "01 02:30:50", "02 02:30:10"]


def test_an_instant_itself_is_not_after_it() -> None:
    assert cron("0 0 * * *").next_after(AFTER) == AFTER + timedelta(days=1)
    assert cron("0 0 * * *").next_after(AFTER - datetime.resolution) == AFTER


WRONG: list[tuple[str, str]] = [
    ("", "has 0 fields: write five"),
    ("0 3 * *", "has 4 fields: write five"),
    ("0 0 3 * * ? 2026", "has 7 fields"),
    ("61 * * * * *", "'61' in its second field: use 0 to 59"),
    ("60 * * * *", "'60' in its minute field: use 0 to 59"),
    ("0 25 * * *", "'25' in its hour field: use 0 to 23"),
    ("0 3 32 * *", "'32' in its day-of-month field: use 1 to 31, L"),
    ("0 3 0 * *", "'0' in its day-of-month field"),
    ("0 3 * 13 *", "'13' in its month field: use 1 to 12 or JAN to DEC"),
    ("0 3 * JANUARY *", "'JANUARY' in its month field"),
    ("0 3 * * 8", r"'8' in its day-of-week field: use 0 to 7 \(0 and 7 are Sunday\)"),
    ("0 3 * * MON#6", "'MON#6' in its day-of-week field"),
    ("0 3 * * MONDAY", "'MONDAY' in its day-of-week field"),
    ("0 3 30 2 *", "'30' in its day-of-month field: .*no month of the expression has this day"),
    ("0 3 15W * *", "'15W' in its day-of-month field: .*the weekday nearest to a day, as in 15W, is not supported"),
    ("0 3 L-3 * *", "'L-3' in its day-of-month field"),
    ("0 22-2 * * *", "'22-2' in its hour field: .*a range goes upwards, 22-2 is 22-23,0-2"),
    ("? 3 * * *", "'[?]' in its minute field: .*[?] stands alone, in day-of-month or day-of-week"),
    ("*/0 * * * *", r"'\*/0' in its minute field"),
    ("*/90 * * * *", "the step 90 in the minute field, which has only 60 values: use every"),
    ("0 */36 * * *", "the step 36 in the hour field, which has only 24 values: use every"),
    ("a b c d e", "'A' in its minute field"),
    ("0 3 * * * #", "'[*]' in its|'#' in its day-of-week field"),
    ("*,, * * * *", "in its minute field"),
    ("٣ * * * *", "in its minute field"),
    ("* * */20 * 1L", "never fires: no day of the next 50 years fits it"),
    ("@reboot", "'@reboot' is not known: use one of @hourly, @daily"),
    ("@every 5m", "'@every 5m' is not known"),
    ("* " * 200, "at most 200 characters, this one 399"),
]


@pytest.mark.parametrize(("expression", "complaint"), WRONG, ids=[row[0][:20] for row in WRONG])
def test_a_wrong_expression_is_refused_with_its_field(expression: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        cron(expression)


@pytest.mark.parametrize("expression", [None, 5, b"0 3 * * *"])
def test_what_is_no_text_is_refused(expression: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"cron\(\) takes text"):
        cron(expression)


_ODD = [
    "?",
    "L",
    "W",
    "LW",
    "SUN#2",
    "FRI-SUN",
    "5-1",
    "*/99",
    "0L",
    "1L/2",
    "²L",
    ",",
    "-",
    "/",
    "#",
    "@daily",
    "9" * 50,
]
_PARTS = st.sampled_from(["0", "1", "5", "31", "59", "60", "*", "MON", "JAN", "1-5", "*/2", "1/2", "1,2,3", *_ODD])


@pytest.mark.slow
@given(st.lists(_PARTS | st.text(max_size=3), min_size=4, max_size=7).map(" ".join) | st.text(max_size=12))
def test_any_text_is_a_cron_that_fires_or_is_refused(text: str) -> None:
    try:
        made = cron(text)
    except ConfigurationError:
        return
    assert made.next_after(AFTER) is not None
    assert made.expression in str(made)


@pytest.mark.slow
@given(
    st.sets(st.integers(0, 59), min_size=1, max_size=3),
    st.sets(st.integers(0, 23), min_size=1, max_size=3),
    st.sets(st.integers(1, 12), min_size=1, max_size=3),
    st.datetimes(datetime(1990, 1, 1), datetime(2040, 1, 1)),
)
def test_lists_fire_at_each_of_their_values(
    minutes: set[int], hours: set[int], months: set[int], naive: datetime
) -> None:
    after = naive.replace(tzinfo=UTC)
    fields = [",".join(map(str, sorted(each))) for each in (minutes, hours, months)]
    following = cron(f"{fields[0]} {fields[1]} * {fields[2]} *").next_after(after)
    expected = after.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while expected.month not in months:
        expected = expected.replace(hour=0, minute=0) + timedelta(days=1)
    while not (expected.month in months and expected.hour in hours and expected.minute in minutes):
        expected += timedelta(minutes=1)
        while expected.month not in months:
            expected = expected.replace(hour=0, minute=0) + timedelta(days=1)
    assert following == expected


def test_white_space_makes_no_difference() -> None:
    assert cron(" 0  3\t* * * ") == cron("0 3 * * *")


def test_a_cron_reads_as_its_text_zone_and_meaning() -> None:
    assert str(cron("@weekly", timezone="Europe/Rome")) == "cron @weekly (Europe/Rome): At 00:00 on Sunday"


def test_every_alias_is_an_expression() -> None:
    assert all(cron(alias).expression == alias for alias in ALIASES)
