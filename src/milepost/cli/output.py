"""What a command prints: JSON for programs, and times for people (their tables are of `milepost.text`)."""

from __future__ import annotations

import json
from datetime import datetime


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
