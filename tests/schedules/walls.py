"""Clock changes, found and told by looking at every minute: slow, and without a rule of its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def changes(zone: str, year: int) -> list[datetime]:
    """Moments of a year, each less than six hours after a change of the clocks of a zone."""
    start = datetime(year, 1, 1, tzinfo=UTC)
    moments = [start + number * 6 * HOUR for number in range(366 * 4)]
    offsets = [each.astimezone(ZoneInfo(zone)).utcoffset() for each in moments]
    return [moments[n] for n in range(1, len(moments)) if offsets[n] != offsets[n - 1]]


class Minutes:
    """Each minute of three days around a moment, with what the clock on the wall shows."""

    def __init__(self, zone: str, around: datetime) -> None:
        self.around, self.start, self.end = around, around - 1.5 * DAY, around + 1.5 * DAY
        # A margin, so that what belongs to the window by a gap or a repeat at its edge is seen.
        instants = [self.start - DAY + number * MINUTE for number in range(5 * 24 * 60)]
        self.shown = [(each, each.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)) for each in instants]
        self.first: dict[datetime, datetime] = {}
        for instant, wall in self.shown:
            self.first.setdefault(wall, instant)

    def once_each(self, fits: Callable[[datetime], bool]) -> list[datetime]:
        """Wall times that fit, each at its first instant, or at the first one after the gap that it is in."""
        earliest, latest = self.shown[0][1], self.shown[-1][1]
        walls = [earliest + number * MINUTE for number in range((latest - earliest) // MINUTE)]
        found = {self._instant(wall) for wall in walls if fits(wall)}
        return sorted(instant for instant in found if self.start <= instant < self.end)

    def all_that_fit(self, fits: Callable[[datetime], bool]) -> list[datetime]:
        """Each instant at which the clock shows a wall time that fits."""
        return [instant for instant, wall in self.shown if fits(wall) and self.start <= instant < self.end]

    def _instant(self, wall: datetime) -> datetime:
        if wall in self.first:
            return self.first[wall]
        before = max(index for index, (_, shown) in enumerate(self.shown) if shown < wall <= shown + 1.5 * DAY)
        return self.shown[before + 1][0]
