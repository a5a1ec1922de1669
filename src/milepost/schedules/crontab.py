"""`cron`: five or six fields, read by cronsim as wall times, and brought to instants by the rules of `zones`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import final
from zoneinfo import ZoneInfo

from attrs import field, frozen
from cronsim import CronSim

from milepost.schedules.cron_text import checked_expression, fields_of
from milepost.schedules.occurrences import Occurrences, instants_of
from milepost.schedules.zones import checked_timezone, next_change, wall_at, zone_of

_HOURS = frozenset(range(24))


@final
@frozen
class Cron(Occurrences):
    """The instants of a cron expression in a time zone.

    One that names hours fires once at the end of a gap, and once in a repeated hour. One that fires in every hour names
    no time of the day: it goes on through a clock change as if there was none, and through a repeated hour twice.
    """

    expression: str = field(converter=checked_expression)
    timezone: str = field(default="UTC", converter=checked_timezone)

    def after(self, instant: datetime) -> Iterator[datetime]:
        """The instants after `instant`; none if the next one would be more than 50 years away."""
        zone, fields = zone_of(self.timezone), fields_of(self.expression)
        try:
            start = wall_at(instant, zone)
            if CronSim(fields, start).hours >= _HOURS:
                yield from _through_changes(fields, zone, instant)
            else:
                yield from instants_of(_walls(fields, start), zone, instant)
        except (OverflowError, ValueError):  # the last year
            return

    @property
    def explanation(self) -> str:
        """The expression in words."""
        return CronSim(fields_of(self.expression), datetime(2000, 1, 1)).explain()

    def __str__(self) -> str:
        return f"cron {self.expression} ({self.timezone}): {self.explanation}"


def cron(expression: str, *, timezone: str | ZoneInfo = "UTC") -> Cron:
    """The instants of a cron expression of five fields, of six with the seconds first, or such as `@daily`.

    Raises `ConfigurationError` that names the field, or near matches of the time zone.

    >>> print(cron("0 3 * * MON-FRI", timezone="Europe/Rome"))
    cron 0 3 * * MON-FRI (Europe/Rome): At 03:00 on Monday through Friday
    """
    return Cron(expression, timezone)


def _walls(fields: str, after: datetime) -> Iterator[datetime]:
    """The wall times after `after`: without a zone cronsim applies no rule of its own for clock changes."""
    return iter(CronSim(fields, after))


def _through_changes(fields: str, zone: tzinfo, after: datetime) -> Iterator[datetime]:
    """Every instant at which the clock on the wall shows a time that fits: from one clock change to the next."""
    moment = after
    offset = _offset(zone, moment)
    walls = _walls(fields, wall_at(moment, zone))
    while True:
        wall = next(walls, None)
        if wall is None:
            return
        instant = wall.replace(tzinfo=UTC) - offset
        change = next_change(zone, moment, instant)
        if change is None:
            yield instant
            moment = instant
        else:
            moment, offset = change, _offset(zone, change)
            walls = _walls(fields, wall_at(change, zone) - datetime.resolution)


def _offset(zone: tzinfo, instant: datetime) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta(0)
