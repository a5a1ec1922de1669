"""The wall clock as a value: a function that returns an aware UTC datetime.

Waiting uses trio's clock; this one only says when things happened or fall due.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]
"""Returns the time now, aware and in UTC."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_MOMENT = datetime.min.replace(tzinfo=UTC)
LAST_MOMENT = datetime.max.replace(tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def system_clock() -> datetime:
    """The host's wall clock."""
    return datetime.now(UTC)


def later(moment: datetime, delay: timedelta) -> datetime:
    """`moment` + `delay`, at most the last moment that a datetime can hold: a delay never raises.

    >>> later(EPOCH, timedelta.max) == LAST_MOMENT
    True
    """
    try:
        return moment + delay
    except OverflowError:
        return LAST_MOMENT


def to_micros(moment: datetime) -> int:
    """Whole microseconds since 1970, exact.

    >>> to_micros(datetime(1970, 1, 2, tzinfo=UTC))
    86400000000
    """
    return (moment - EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The instant that `to_micros` was given, in UTC.

    What is no instant of Python's, and so was never given to it, is the first or the last one that there is.

    >>> from_micros(86_400_000_000).isoformat()
    '1970-01-02T00:00:00+00:00'
    """
    try:
        return EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        return LAST_MOMENT if micros > 0 else FIRST_MOMENT
