"""Whens of every kind, in zones of every kind."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

from hypothesis import strategies as st

from milepost.schedules.crontab import Cron
from milepost.schedules.days import NthWeekday, ShortMonths, Weekday
from milepost.schedules.fluent import Daily, Monthly, Weekly
from milepost.schedules.interval import Every
from milepost.schedules.terms import Misfire, Overlap, Terms
from milepost.schedules.when import When

ZONES = ["UTC", "Europe/Rome", "Australia/Lord_Howe", "America/Sao_Paulo", "Africa/Casablanca", "Asia/Kathmandu"]
CRONS = [
    "* * * * *",
    "*/5 * * * *",
    "17 * * * *",
    "30 2 * * *",
    "0 */2 * * *",
    "15 0-3 * * MON-FRI",
    "0 0 L * *",
    "0 9 * * MON#1",
    "0 0 29 2 *",
    "*/20 30 1,2 * * *",
    "@monthly",
]
FIRST, LAST = datetime(1971, 1, 1), datetime(2036, 1, 1)


def zones() -> st.SearchStrategy[str]:
    """Zones whose clocks change, and some whose do not."""
    return st.sampled_from(ZONES)


def moments() -> st.SearchStrategy[datetime]:
    """Instants of the years in which zones have rules."""
    return st.datetimes(FIRST, LAST).map(lambda moment: moment.replace(tzinfo=UTC))


def times_of_day() -> st.SearchStrategy[time]:
    """Times of whole seconds, more often early in the day, where clocks change."""
    return st.builds(time, st.integers(0, 3) | st.integers(0, 23), st.sampled_from([0, 15, 30]), st.integers(0, 59))


def whens() -> st.SearchStrategy[When]:
    """Each kind of when."""
    times, weekdays = st.lists(times_of_day(), max_size=3).map(tuple), st.sampled_from(Weekday)
    days = st.sampled_from([-1, 1, 15, 28, 29, 30, 31])
    return st.one_of(
        st.builds(Every, st.timedeltas(timedelta(seconds=1), timedelta(days=400)), starting=st.none() | moments()),
        st.builds(Cron, st.sampled_from(CRONS), zones()),
        st.builds(Daily, times=times, timezone=zones()),
        st.builds(Weekly, st.lists(weekdays, max_size=3).map(tuple), times=times, timezone=zones()),
        st.builds(
            Monthly,
            st.lists(days, max_size=3).map(tuple),
            st.lists(st.builds(NthWeekday, st.sampled_from([-1, 1, 2, 5]), weekdays), max_size=2).map(tuple),
            st.sampled_from([(), (1,), (1, 7)]),
            st.sampled_from(ShortMonths),
            times=times,
            timezone=zones(),
        ),
    )


def terms() -> st.SearchStrategy[Terms]:
    """Terms of every kind; none of them ends before it begins."""
    return st.builds(
        Terms,
        when=whens().filter(lambda when: not isinstance(when, Every) or when.starting is None),
        misfire=st.sampled_from(Misfire),
        overlap=st.sampled_from(Overlap),
        run_limit=st.none() | st.integers(1, 5),
        until=st.none() | moments(),
        run_first=st.none() | st.timedeltas(timedelta(0), timedelta(days=2)),
        misfire_window=st.sampled_from([timedelta(0), timedelta(minutes=1), timedelta(hours=3)]),
    )
