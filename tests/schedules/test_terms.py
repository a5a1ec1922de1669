"""The terms of a schedule: what is refused, and their stored form."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given

from milepost.errors import ConfigurationError
from milepost.schedules.crontab import cron
from milepost.schedules.fluent import daily
from milepost.schedules.interval import every
from milepost.schedules.terms import Misfire, Overlap, Terms, terms_from_json, terms_to_json
from tests.schedules.kit import terms

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_the_defaults_are_one_run_for_what_was_missed_and_none_side_by_side() -> None:
    plain = Terms(when=daily())
    assert (plain.misfire, plain.overlap, plain.run_first) == (Misfire.ONE, Overlap.SKIP, None)
    assert (plain.run_limit, plain.until, plain.misfire_window) == (None, None, timedelta(minutes=1))


def test_terms_say_in_words_what_is_not_the_default() -> None:
    assert str(Terms(when=daily())) == "daily at 00:00 (UTC)"
    full = Terms(
        when=every(HOUR),
        misfire=Misfire.SKIP,
        overlap=Overlap.CANCEL_PREVIOUS,
        run_limit=3,
        until=NOW,
        run_first=timedelta(minutes=5),
        misfire_window=HOUR,
    )
    assert str(full) == (
        "every 1 hour, misfire skip, overlap cancel previous, run limit 3, until 2030-01-01 12:00:00 UTC, "
        "first after 5 minutes, misfire window 1 hour"
    )
    assert str(Terms(when=every(HOUR), run_first=NOW)) == "every 1 hour, first 2030-01-01 12:00:00 UTC"
    assert str(Terms(when=every(HOUR), run_first=timedelta(0))) == "every 1 hour, first at once"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"when": "0 3 * * *"}, "when of a schedule is what every, cron, daily, weekly or monthly give, got '0 3"),
    ({"misfire": "one"}, "misfire of a schedule is Misfire.ONE, SKIP or ALL, got 'one'"),
    ({"overlap": Misfire.SKIP}, "overlap of a schedule is Overlap.SKIP, QUEUE, ALLOW or CANCEL_PREVIOUS"),
    ({"run_limit": 0}, "run_limit of a schedule is 1 or more, or None, got 0"),
    ({"run_limit": 2**31}, "run_limit of a schedule"),
    ({"run_limit": True}, "run_limit of a schedule"),
    ({"until": datetime(2030, 1, 1)}, "until of a schedule needs an aware datetime"),
    ({"until": HOUR}, "until of a schedule needs an aware datetime"),
    ({"run_first": datetime(2030, 1, 1)}, "run_first of a schedule needs an aware datetime"),
    ({"run_first": -HOUR}, "run_first of a schedule is an aware datetime, or a timedelta of 0"),
    ({"run_first": True}, "run_first of a schedule is an aware datetime, or a timedelta of 0"),
    ({"misfire_window": -HOUR}, "misfire_window of a schedule is a timedelta of 0 to ten years"),
    ({"misfire_window": 60}, "misfire_window of a schedule"),
    ({"run_first": NOW, "until": NOW - HOUR}, "with run_first .* and until .* would end before it begins: move one"),
    ({"when": every(HOUR, starting=NOW), "until": NOW - HOUR}, "with starting .* would end before it begins"),
]


@pytest.mark.parametrize(("given_", "complaint"), REFUSED, ids=[row[1][:50] for row in REFUSED])
def test_terms_that_make_no_sense_are_refused_with_the_fix(given_: dict[str, Any], complaint: str) -> None:
    options: dict[str, Any] = {"when": daily(), **given_}
    with pytest.raises(ConfigurationError, match=complaint):
        Terms(**options)


@pytest.mark.slow
@given(terms())
def test_terms_come_back_from_their_stored_form(some: Terms) -> None:
    assert terms_from_json(terms_to_json(some)).unwrap() == some


@pytest.mark.slow
@given(terms(), terms())
def test_terms_are_equal_exactly_when_their_stored_forms_are(one: Terms, other: Terms) -> None:
    assert (one == other) is (terms_to_json(one) == terms_to_json(other))


def test_the_stored_form_stays_as_it_is() -> None:
    some = Terms(when=cron("@daily"), until=NOW, run_first=HOUR, overlap=Overlap.CANCEL_PREVIOUS, run_limit=3)
    assert terms_to_json(some) == (
        '{"misfire":"one","misfire_window":60000000,"overlap":"cancel_previous","run_first":3600000000,"run_limit":3,'
        '"until":"2030-01-01T12:00:00+00:00","when":{"$type":"Cron","expression":"@daily","timezone":"UTC"}}'
    )


UNREADABLE = [
    ("{}", "$: "),
    ('{"when":{"$type":"Daily"},"misfire":"two"}', "$.misfire: 'two' is not a valid Misfire"),
    ('{"when":{"$type":"Daily","times":[7]}}', "$.when.times[0]: 7 is no str"),
    ('{"when":{"$type":"Daily"},"run_first":"soon"}', "$.run_first: "),
    ('{"when":{"$type":"Daily"},"run_first":[]}', "$.run_first: [] is no str"),
    ('{"when":{"$type":"Daily"},"run_limit":0}', "$: run_limit of a schedule"),
]


@pytest.mark.parametrize(("stored", "complaint"), UNREADABLE)
def test_what_cannot_be_read_is_refused_with_its_place(stored: str, complaint: str) -> None:
    assert str(terms_from_json(stored).failure()).startswith(complaint)


def test_an_earlier_form_without_a_newer_field_is_read_with_its_default() -> None:
    assert terms_from_json('{"when":{"$type":"Daily"}}').unwrap() == Terms(when=daily())
