"""Times as whole microseconds, exactly, and sums that never raise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from milepost.clock import EPOCH, LAST_MOMENT, from_micros, later, system_clock, to_micros


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-9, minutes=-30))])))
def test_a_moment_survives_the_way_there_and_back(moment: datetime) -> None:
    assert from_micros(to_micros(moment)) == moment


@given(st.integers(to_micros(datetime.min.replace(tzinfo=UTC)), to_micros(LAST_MOMENT)))
def test_microseconds_survive_the_way_there_and_back(micros: int) -> None:
    assert to_micros(from_micros(micros)) == micros
    assert from_micros(micros).tzinfo is UTC


@given(st.datetimes(), st.timedeltas(timedelta(0)))
def test_a_sum_is_exact_or_the_last_moment(naive: datetime, delay: timedelta) -> None:
    moment = naive.replace(tzinfo=UTC)
    assert later(moment, delay) == (moment + delay if delay <= LAST_MOMENT - moment else LAST_MOMENT)


def test_one_microsecond_before_the_epoch_is_minus_one() -> None:
    assert to_micros(EPOCH - timedelta(microseconds=1)) == -1


def test_the_system_clock_is_aware_and_in_utc() -> None:
    assert system_clock().utcoffset() == timedelta(0)
