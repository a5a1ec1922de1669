"""Time zones by their names."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from struct import pack
from typing import Any
from zoneinfo import TZPATH, ZoneInfo, reset_tzpath

import pytest

from milepost.errors import ConfigurationError
from milepost.schedules import zones
from milepost.schedules.crontab import cron
from milepost.schedules.fluent import daily
from milepost.schedules.zones import checked_timezone

UNKNOWN = [
    ("europe/rome", "'europe/rome' is unknown: did you mean 'Europe/Rome'"),
    ("Rome", "'Rome' is unknown: did you mean 'Europe/Rome'"),
    ("rome", "did you mean 'Europe/Rome'"),
    ("New York", "did you mean 'America/New_York'"),
    ("Europe/Roma", "did you mean .*'Europe/Rome'"),
    ("Mars/Base", "use a name such as 'Europe/Rome' or 'UTC'"),
    ("", "'' is unknown"),
    ("Europe", "'Europe' is unknown"),
    ("../../etc/passwd", "is unknown"),
    ("/etc/localtime", "is unknown"),
    ("Europe/Rome\0", "is unknown"),
    ("\ud800", "is unknown"),
    ("zone.tab", "is unknown"),
    ("x" * 10_000, "is unknown"),
    ("localtime", "is another one on each machine"),
]


@pytest.mark.parametrize(("name", "complaint"), UNKNOWN, ids=[ascii(row[0][:20]) for row in UNKNOWN])
def test_an_unknown_zone_is_refused_with_its_neighbours(name: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint) as refused:
        daily().in_timezone(name)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("name", [None, UTC, 1])
def test_what_is_no_name_is_refused(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="a timezone is a name such as 'Europe/Rome'"):
        daily().in_timezone(name)


def test_a_zone_itself_is_taken_by_its_name() -> None:
    assert cron("0 3 * * *", timezone=ZoneInfo("Europe/Rome")).timezone == "Europe/Rome"
    assert daily().in_timezone(ZoneInfo("Europe/Rome")) == daily().in_timezone("Europe/Rome")


def test_a_zone_without_a_name_is_refused() -> None:
    nameless = ZoneInfo.from_file(BytesIO(b"TZif" + bytes(16) + pack(">6llbb", 0, 0, 0, 0, 1, 4, 0, 0, 0) + b"UTC\0"))
    with pytest.raises(ConfigurationError, match="a timezone is a name"):
        daily().in_timezone(nameless)


@pytest.fixture
def no_zone_files() -> Iterator[None]:
    before = TZPATH
    ZoneInfo.clear_cache()
    reset_tzpath([])
    yield
    reset_tzpath(before)


@pytest.mark.usefixtures("no_zone_files")
def test_utc_needs_no_database() -> None:
    assert daily().next_after(datetime(2026, 1, 1, tzinfo=UTC)) == datetime(2026, 1, 2, tzinfo=UTC)


def test_a_machine_without_a_database_is_told_to_install_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zones, "available_timezones", set[str])
    with pytest.raises(ConfigurationError, match="this machine has no time zone database: install tzdata"):
        checked_timezone("Mars/Base")
