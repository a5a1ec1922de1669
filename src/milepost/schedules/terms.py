"""The terms of a schedule: when it fires, and what becomes of instants that were missed or come too soon.

They are what a store keeps of a definition beside the request, and compares to notice that it has changed.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum
from types import UnionType
from typing import Any, final

from attrs import frozen
from returns.result import Result

from milepost.errors import ConfigurationError
from milepost.kinds import is_a
from milepost.payload import JsonText, PayloadRefused, to_json_text
from milepost.schedules.interval import Every, duration
from milepost.schedules.occurrences import in_utc
from milepost.schedules.stored import NothingOr, Shape, instants, member, number, read_text, spans
from milepost.schedules.when import WHEN, When
from milepost.text import shown

MISFIRE_WINDOW = timedelta(minutes=1)
_RUNS_MAX = 2**31 - 1
_SPAN_MAX = timedelta(days=3650)


class Misfire(Enum):
    """What becomes of instants that nobody fired in time, as when every executor was down.

    ONE fires the latest of them, unless one is still on time and fires anyway; SKIP none; ALL each, the newest 100.
    """

    ONE = "one"
    SKIP = "skip"
    ALL = "all"


class Overlap(Enum):
    """What becomes of an instant while the task of the previous one is live.

    SKIP drops it; QUEUE keeps one, which fires when that task has ended; ALLOW fires it; CANCEL_PREVIOUS cancels that
    task and fires when it has ended.
    """

    SKIP = "skip"
    QUEUE = "queue"
    ALLOW = "allow"
    CANCEL_PREVIOUS = "cancel_previous"


@final
@frozen(kw_only=True)
class Terms:
    """When a schedule fires. Raises `ConfigurationError` for what is out of range or could never fire.

    An instant that is fired within `misfire_window` is on time, later it is missed. `run_limit` counts the tasks that
    were enqueued. No instant is later than `until`. With `run_first`, a delay or an aware datetime, the first instant
    is then, and the others follow it.
    """

    when: When
    misfire: Misfire = Misfire.ONE
    overlap: Overlap = Overlap.SKIP
    run_limit: int | None = None
    until: datetime | None = None
    run_first: datetime | timedelta | None = None
    misfire_window: timedelta = MISFIRE_WINDOW

    def __attrs_post_init__(self) -> None:
        _check_kind("when", self.when, When, "what every, cron, daily, weekly or monthly give")
        _check_kind("misfire", self.misfire, Misfire, "Misfire.ONE, SKIP or ALL")
        _check_kind("overlap", self.overlap, Overlap, "Overlap.SKIP, QUEUE, ALLOW or CANCEL_PREVIOUS")
        if self.run_limit is not None and (type(self.run_limit) is not int or not 1 <= self.run_limit <= _RUNS_MAX):
            raise ConfigurationError(f"run_limit of a schedule is 1 or more, or None, got {shown(self.run_limit)}")
        window = self.misfire_window
        if not is_a(window, timedelta) or not timedelta(0) <= window <= _SPAN_MAX:
            raise ConfigurationError(
                f"misfire_window of a schedule is a timedelta of 0 to ten years, got {shown(window)}"
            )
        if self.until is not None:
            object.__setattr__(self, "until", in_utc("until of a schedule", self.until))
        object.__setattr__(self, "run_first", _checked_first(self.run_first))
        _check_order(self)

    def __str__(self) -> str:
        said = {
            f"misfire {self.misfire.value}": self.misfire is not Misfire.ONE,
            f"overlap {self.overlap.name.lower().replace('_', ' ')}": self.overlap is not Overlap.SKIP,
            f"run limit {self.run_limit}": self.run_limit is not None,
            f"until {_told(self.until)}": self.until is not None,
            f"first {_told(self.run_first)}": self.run_first is not None,
            f"misfire window {duration(self.misfire_window)}": self.misfire_window != MISFIRE_WINDOW,
        }
        return ", ".join([str(self.when), *(words for words, is_said in said.items() if is_said)])


def terms_to_json(terms: Terms) -> JsonText:
    """The stored form: canonical, so that terms differ exactly when their texts do."""
    return to_json_text(_TERMS.write(terms)).unwrap()


def terms_from_json(stored: str) -> Result[Terms, PayloadRefused]:
    """The terms of their stored form, or where and why it is none."""
    return read_text(_TERMS, stored)


@final
@frozen
class _First:
    """A delay is stored as a number, a moment as text."""

    def write(self, value: Any) -> int | str | None:
        """The JSON value."""
        if isinstance(value, timedelta):
            return value // datetime.resolution
        return value.isoformat() if isinstance(value, datetime) else None

    def read(self, plain: Any, path: str) -> datetime | timedelta | None:
        """The value."""
        return spans.read(plain, path) if type(plain) is int else NothingOr(instants).read(plain, path)


_TERMS = Shape(
    Terms,
    {
        "when": WHEN,
        "misfire": member(Misfire),
        "overlap": member(Overlap),
        "run_limit": NothingOr(number),
        "until": NothingOr(instants),
        "run_first": _First(),
        "misfire_window": spans,
    },
)


def _told(moment: datetime | timedelta | None) -> str:
    if isinstance(moment, datetime):
        return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    return f"after {duration(moment)}" if moment else "at once"


def _check_kind(what: str, value: object, kind: type | UnionType, fix: str) -> None:
    if not is_a(value, kind):
        raise ConfigurationError(f"{what} of a schedule is {fix}, got {shown(value)}")


def _checked_first(given: object) -> datetime | timedelta | None:
    if isinstance(given, datetime):
        return in_utc("run_first of a schedule", given)
    if given is None or (isinstance(given, timedelta) and given >= timedelta(0)):
        return given
    raise ConfigurationError(
        f"run_first of a schedule is an aware datetime, or a timedelta of 0 (at once) or more, got {shown(given)}"
    )


def _check_order(terms: Terms) -> None:
    if terms.until is None:
        return
    starts = {"run_first": terms.run_first, "starting": terms.when.starting if isinstance(terms.when, Every) else None}
    for what, start in starts.items():
        if isinstance(start, datetime) and terms.until < start:
            raise ConfigurationError(
                f"a schedule with {what} {start} and until {terms.until} would end before it begins: move one of them"
            )
