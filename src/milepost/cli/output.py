"""What a command prints: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows in columns as wide as they need to be.

    >>> print(table(["id", "n"], [["a", 10], ["bcd", 2]]))
    ID   N
    a    10
    bcd  2
    """
    lines = [[heading.upper() for heading in headings], *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def json_text(value: object) -> str:
    """The value as JSON, times in ISO form."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=_plain)


def ago(then: datetime, now: datetime) -> str:
    """How long it is since `then`, in the largest unit that fits.

    >>> from datetime import timedelta, UTC
    >>> noon = datetime(2030, 1, 1, 12, tzinfo=UTC)
    >>> ago(noon - timedelta(minutes=3, seconds=20), noon)
    '3m'
    """
    seconds = max(0, int((now - then).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{value!r} has no JSON form")
