"""What holds for every kind of when: the order of its instants, and its stored form."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from milepost.codec import CodecFactory
from milepost.errors import ConfigurationError
from milepost.payload import from_json_text
from milepost.schedules.crontab import cron
from milepost.schedules.days import ShortMonths, Weekday
from milepost.schedules.fluent import daily, monthly, weekly
from milepost.schedules.interval import Every, every
from milepost.schedules.when import When, when_from_json, when_to_json
from tests.schedules.kit import FIRST, moments, whens
from tests.schedules.walls import HOUR, Minutes, changes

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
PAYLOADS = CodecFactory().codec(When)
EACH_KIND: list[When] = [every(HOUR, starting=NOW), cron("0 3 * * *"), daily(), weekly(), monthly()]


def _anchored(when: When, at: datetime) -> When:
    return when.anchored(at) if isinstance(when, Every) else when


@pytest.mark.slow
@given(whens(), moments())
def test_the_next_instant_is_later_and_in_utc_and_nothing_is_before_it(when: When, after: datetime) -> None:
    when = _anchored(when, FIRST.replace(tzinfo=UTC))
    following = when.next_after(after)
    assert following is not None
    assert following > after
    assert following.tzinfo is UTC
    for between in (after + (following - after) / 3, after + (following - after) / 2, following - datetime.resolution):
        assert when.next_after(between) == following


@pytest.mark.slow
@given(whens(), moments())
def test_asking_one_by_one_gives_the_preview(when: When, after: datetime) -> None:
    when = _anchored(when, FIRST.replace(tzinfo=UTC))
    preview = when.preview(5, after=after)
    one_by_one = [after]
    for _ in preview:
        following = when.next_after(one_by_one[-1])
        assert following is not None
        one_by_one.append(following)
    assert one_by_one[1:] == preview
    assert preview == sorted(set(preview))


@pytest.mark.slow
@given(whens(), moments())
def test_between_has_its_start_and_not_its_end(when: When, after: datetime) -> None:
    when = _anchored(when, FIRST.replace(tzinfo=UTC))
    preview = when.preview(4, after=after)
    assume(len(preview) == 4)
    assert list(when.between(preview[0], preview[-1])) == preview[:-1]
    assert list(when.between(preview[0], preview[0])) == []


@given(whens())
def test_a_when_comes_back_from_its_stored_form(when: When) -> None:
    assert when_from_json(when_to_json(when)).unwrap() == when


@pytest.mark.slow
@given(whens())
def test_the_stored_form_is_that_of_payloads(when: When) -> None:
    assert PAYLOADS.encode(when).unwrap() == when_to_json(when)


STORED: list[tuple[When, str]] = [
    (
        every(timedelta(minutes=10), starting=NOW),
        '{"$type":"Every","interval":600000000,"starting":"2030-01-01T12:00:00+00:00"}',
    ),
    (every(timedelta(minutes=10)), '{"$type":"Every","interval":600000000,"starting":null}'),
    (cron("0  3 * * mon"), '{"$type":"Cron","expression":"0 3 * * mon","timezone":"UTC"}'),
    (
        daily().at("15:00").at("03:00").in_timezone("Europe/Rome"),
        '{"$type":"Daily","times":["03:00:00","15:00:00"],"timezone":"Europe/Rome"}',
    ),
    (
        weekly().on(Weekday.FRIDAY, Weekday.MONDAY),
        '{"$type":"Weekly","times":[],"timezone":"UTC","weekdays":["monday","friday"]}',
    ),
    (
        monthly().on_day(31, short_months=ShortMonths.SKIP).in_months(1),
        '{"$type":"Monthly","days":[31],"months":[1],"nth_weekdays":[],"short_months":"skip","times":[],"timezone":"UTC"}',
    ),
]


@pytest.mark.parametrize(("when", "stored"), STORED, ids=[str(row[0]) for row in STORED])
def test_the_stored_form_stays_as_it_is(when: When, stored: str) -> None:
    assert when_to_json(when) == stored


UNREADABLE = [
    ("", "$: not JSON"),
    ("[]", "$: has the $type None, where Every, Cron, Daily, Weekly, Monthly are known"),
    ('{"$type":"Hourly"}', "$: has the $type 'Hourly'"),
    ('{"$type":"Cron","expression":"0 3 * * *","tz":"UTC"}', "$: has fields that Cron does not know: tz"),
    ('{"$type":"Cron","expression":7}', "$.expression: 7 is no str"),
    ('{"$type":"Cron"}', "$: "),
    ('{"$type":"Cron","expression":"0 25 * * *"}', "$: the cron '0 25 * * *' has '25' in its hour field"),
    ('{"$type":"Daily","timezone":"Europe/Roma"}', "$: the timezone 'Europe/Roma' is unknown"),
    ('{"$type":"Daily","times":["25:00"]}', "$.times[0]: "),
    ('{"$type":"Daily","times":"03:00"}', "$.times: '03:00' is no array"),
    ('{"$type":"Weekly","weekdays":["moonday"]}', "$.weekdays[0]: 'moonday' is not a valid Weekday"),
    ('{"$type":"Monthly","nth_weekdays":[{"number":9,"weekday":"monday"}]}', "$.nth_weekdays[0]: on_the() needs"),
    ('{"$type":"Monthly","nth_weekdays":[1]}', "$.nth_weekdays[0]: 1 is no object"),
    ('{"$type":"Every","interval":0}', "$: every() needs a timedelta above zero"),
    ('{"$type":"Every","interval":true}', "$.interval: True is no int"),
    ('{"$type":"Every","interval":1e400}', "$: not JSON"),
    (f'{{"$type":"Every","interval":{10**30}}}', "$.interval: "),
    ('{"$type":"Every","interval":1,"starting":"2030-01-01T12:00:00"}', "$: starting of every() needs an aware"),
]


@pytest.mark.parametrize(("stored", "complaint"), UNREADABLE)
def test_what_cannot_be_read_is_refused_with_its_place(stored: str, complaint: str) -> None:
    assert str(when_from_json(stored).failure()).startswith(complaint)


def test_a_field_that_is_missing_has_its_default() -> None:
    assert when_from_json('{"$type":"Weekly"}').unwrap() == weekly()


@pytest.mark.parametrize("when", EACH_KIND, ids=str)
def test_a_naive_datetime_is_refused(when: When) -> None:
    naive = datetime(2030, 1, 1)
    for ask in (
        lambda: when.next_after(naive),
        lambda: when.between(naive, NOW),
        lambda: when.between(NOW, naive),
        lambda: when.preview(1, after=naive),
    ):
        with pytest.raises(ConfigurationError, match=r"needs an aware datetime, such as datetime\(..., tzinfo=UTC\)"):
            ask()


@pytest.mark.parametrize("when", EACH_KIND, ids=str)
def test_a_window_that_ends_before_it_begins_is_refused(when: When) -> None:
    with pytest.raises(ConfigurationError, match="an end that is not before its start"):
        when.between(NOW, NOW - HOUR)


@pytest.mark.parametrize("count", [-1, True, 1.0])
def test_a_preview_needs_a_number(count: int) -> None:
    with pytest.raises(ConfigurationError, match="a count of 0 or more"):
        daily().preview(count, after=NOW)


def test_a_preview_without_a_moment_begins_now() -> None:
    before = datetime.fromtimestamp(0, UTC)
    assert daily().preview(2)[0] > before
    assert len(daily().preview(2)) == 2


@pytest.mark.parametrize("when", EACH_KIND, ids=str)
def test_no_instant_comes_after_the_last_year(when: When) -> None:
    last = datetime.max.replace(tzinfo=UTC)
    assert when.next_after(last) is None
    assert when.preview(3, after=last - timedelta(minutes=1)) == []
    assert list(when.between(last - timedelta(seconds=1), last)) == []


@pytest.mark.parametrize("when", EACH_KIND, ids=str)
def test_the_first_year_can_be_asked_for(when: When) -> None:
    first = datetime.min.replace(tzinfo=UTC)
    assert next(when.between(first, NOW + timedelta(days=400))) >= first


def test_a_moment_that_utc_cannot_tell_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="beyond what UTC can tell"):
        daily().next_after(datetime.max.replace(tzinfo=ZoneInfo("America/New_York")))


@pytest.mark.slow
@given(st.sampled_from(sorted(available_timezones() - {"localtime"})), st.integers(1972, 2036), st.data())
def test_in_every_zone_a_named_time_fires_once_around_a_change(zone: str, year: int, data: st.DataObject) -> None:
    found = changes(zone, year)
    assume(found)
    minutes = Minutes(zone, data.draw(st.sampled_from(found)))
    chosen = data.draw(st.lists(st.tuples(st.integers(0, 23), st.integers(0, 59)), min_size=1, max_size=4))
    when = daily().at(*(f"{hour}:{minute:02}" for hour, minute in chosen)).in_timezone(zone)
    fired = list(when.between(minutes.start, minutes.end))
    assert fired == minutes.once_each(lambda wall: (wall.hour, wall.minute) in chosen)


def test_the_instants_of_a_window_are_made_when_they_are_asked_for() -> None:
    endless = every(timedelta(microseconds=1), starting=NOW).between(NOW, NOW + timedelta(days=3_650))
    assert list(islice(endless, 2)) == [NOW, NOW + timedelta(microseconds=1)]


def test_the_stored_form_is_json() -> None:
    assert isinstance(from_json_text(when_to_json(daily())).unwrap(), dict)
