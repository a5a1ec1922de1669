"""Instants that may be missing, as SQLite has them: whole microseconds since 1970, or null."""

from __future__ import annotations

from datetime import datetime

from milepost.clock import from_micros, to_micros


def micros_of(moment: datetime | None) -> int | None:
    """What is stored of it."""
    return None if moment is None else to_micros(moment)


def moment_of(micros: int | None) -> datetime | None:
    """What was stored as that."""
    return None if micros is None else from_micros(micros)
