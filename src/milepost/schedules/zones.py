"""Time zones: what a clock on the wall shows at an instant, and at which instant it shows a given time.

An instant is an aware datetime in UTC, a wall time a naive one. Both ways are total: a wall time that a clock change
leaves out is at the first instant after the gap, one that it repeats at its first occurrence.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches
from zoneinfo import ZoneInfo, available_timezones

from milepost.clock import EPOCH
from milepost.errors import ConfigurationError
from milepost.kinds import is_a

_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_SUGGESTIONS_MAX = 3
# Not in UTC only, and not the same on every machine.
_UNSUITABLE = frozenset({"localtime", "Factory"})


def checked_timezone(timezone: str | ZoneInfo) -> str:
    """The name of a zone that this machine knows; raises `ConfigurationError` with near matches for another one."""
    name = timezone.key if isinstance(timezone, ZoneInfo) else timezone
    if not is_a(name, str):
        raise ConfigurationError(f"a timezone is a name such as 'Europe/Rome', got {name!r}")
    if name in _UNSUITABLE:
        raise ConfigurationError(f"the timezone {name!r} is another one on each machine: name it, as in 'Europe/Rome'")
    try:
        zone_of(name)
    # What zoneinfo raises for names that are unknown, lead to a folder or another file, or are no file names at all.
    except (KeyError, ValueError, OSError):
        raise ConfigurationError(_unknown(name)) from None
    return name


def zone_of(name: str) -> tzinfo:
    """The zone of a checked name."""
    return UTC if name == "UTC" else ZoneInfo(name)  # UTC needs no time zone database


def wall_at(instant: datetime, zone: tzinfo) -> datetime:
    """What the clock on the wall shows; raises OverflowError beyond the last year."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def instant_of(wall: datetime, zone: tzinfo) -> datetime:
    """When the clock on the wall shows `wall` for the first time; if it never does, the first instant after the gap."""
    instant = wall.replace(tzinfo=zone).astimezone(UTC)
    if wall_at(instant, zone) == wall:
        return instant
    # In a gap the two folds stand for the offsets before and after it, so the change lies between the two instants.
    return _change_between(zone, wall.replace(tzinfo=zone, fold=1).astimezone(UTC), instant)


def next_change(zone: tzinfo, after: datetime, until: datetime) -> datetime | None:
    """The first clock change in (`after`, `until`], if there is one; a change and its undoing within a day are none."""
    since = after
    while since < until:
        following = until if until - since <= _DAY else since + _DAY
        if _offset(zone, since) != _offset(zone, following):
            return _change_between(zone, since, following)
        since = following
    return None


def _change_between(zone: tzinfo, before: datetime, after: datetime) -> datetime:
    """The first instant in (`before`, `after`] with another offset than `before`; clocks change at whole seconds."""
    old = _offset(zone, before)
    low, high = (before - EPOCH) // _SECOND, -((EPOCH - after) // _SECOND)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(zone, EPOCH + middle * _SECOND) == old else (low, middle)
    return EPOCH + high * _SECOND


def _offset(zone: tzinfo, instant: datetime) -> timedelta | None:
    return instant.astimezone(zone).utcoffset()


def _unknown(name: str) -> str:
    known = available_timezones() - _UNSUITABLE
    if not known:
        return f"the timezone {name!r} is unknown, for this machine has no time zone database: install tzdata"
    near = _near(name, known)
    fix = f"did you mean {' or '.join(map(repr, near))}?" if near else "use a name such as 'Europe/Rome' or 'UTC'"
    return f"the timezone {name[:100]!r} is unknown: {fix}"


def _near(name: str, known: set[str]) -> list[str]:
    folded = {each.casefold(): each for each in sorted(known)}
    asked = name[:100].strip().casefold().replace(" ", "_")
    if asked in folded:
        return [folded[asked]]
    # Most people know the city and not the continent.
    cities = [each for low, each in folded.items() if low.rpartition("/")[2] == asked.rpartition("/")[2]]
    return cities[:_SUGGESTIONS_MAX] or [folded[each] for each in get_close_matches(asked, folded, _SUGGESTIONS_MAX)]
