"""`When`, the closed union of all that can be said about when, and its stored form.

Stored is canonical JSON, tagged by class as payloads are: equal values have equal texts, so that a store notices when a
definition has changed.
"""

from __future__ import annotations

from typing import TypeAlias

from returns.result import Result

from milepost.payload import Json, JsonText, PayloadRefused, to_json_text
from milepost.schedules.crontab import Cron
from milepost.schedules.days import NthWeekday, ShortMonths, Weekday
from milepost.schedules.fluent import Daily, Monthly, Weekly
from milepost.schedules.interval import Every
from milepost.schedules.stored import (
    Fields,
    Listed,
    NothingOr,
    Shape,
    instants,
    member,
    number,
    read_text,
    spans,
    tagged,
    text,
    times,
)

When: TypeAlias = Every | Cron | Daily | Weekly | Monthly

_TIMES: Fields = {"times": Listed(times), "timezone": text}
_NTH = Shape(NthWeekday, {"number": number, "weekday": member(Weekday)})
_SHAPES: tuple[Shape[When], ...] = (
    Shape(Every, {"interval": spans, "starting": NothingOr(instants)}),
    Shape(Cron, {"expression": text, "timezone": text}),
    Shape(Daily, _TIMES),
    Shape(Weekly, {"weekdays": Listed(member(Weekday)), **_TIMES}),
    Shape(
        Monthly,
        {
            "days": Listed(number),
            "nth_weekdays": Listed(_NTH),
            "months": Listed(number),
            "short_months": member(ShortMonths),
            **_TIMES,
        },
    ),
)
WHEN = tagged(_SHAPES)
"""How a `When` is written and read inside a larger value."""


def when_to_json(when: When) -> JsonText:
    """The stored form.

    >>> print(when_to_json(Cron("0 3 * * *", "Europe/Rome")))
    {"$type":"Cron","expression":"0 3 * * *","timezone":"Europe/Rome"}
    """
    plain: Json = WHEN.write(when)
    return to_json_text(plain).unwrap()


def when_from_json(stored: str) -> Result[When, PayloadRefused]:
    """The value of its stored form, or where and why it is none: a zone may be unknown on this machine.

    >>> str(when_from_json('{"$type":"Cron","expression":"0 3 * * *","timezone":"Mars/Base"}').failure())
    "$: the timezone 'Mars/Base' is unknown: use a name such as 'Europe/Rome' or 'UTC'"
    """
    return read_text(WHEN, stored)
