"""`Schedule`: a request under terms."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from milepost import Empty, Success, TaskDefinitionError, TaskRequest, TaskResult, task
from milepost.errors import ConfigurationError
from milepost.schedules.crontab import cron
from milepost.schedules.fluent import daily
from milepost.schedules.terms import Misfire, Overlap, Terms
from milepost.tasks.schedule import Schedule


@task(name="tidy")
def tidy(_: Empty, __: Empty) -> TaskResult[Empty, Empty]:
    return Success.with_empty_result().for_empty_error()


REQUEST: TaskRequest[Empty, Empty, Empty, Empty] = tidy.with_metadata(Empty())
NIGHTLY = daily().at("03:00").in_timezone("Europe/Rome")


def test_a_schedule_says_what_it_does_and_when() -> None:
    assert str(Schedule("nightly", REQUEST, NIGHTLY)) == "nightly: tidy, daily at 03:00 (Europe/Rome)"


def test_a_schedule_has_its_terms() -> None:
    some = Schedule("nightly", REQUEST, NIGHTLY, misfire=Misfire.ALL, overlap=Overlap.QUEUE, run_limit=2)
    assert some.terms == Terms(when=NIGHTLY, misfire=Misfire.ALL, overlap=Overlap.QUEUE, run_limit=2)


def test_equal_schedules_are_equal() -> None:
    assert Schedule("nightly", REQUEST, NIGHTLY) == Schedule("nightly", REQUEST, NIGHTLY)
    assert Schedule("nightly", REQUEST, NIGHTLY) != Schedule("nightly", REQUEST, cron("0 3 * * *"))


def test_a_request_in_a_queue_of_its_own_is_kept() -> None:
    assert Schedule("nightly", REQUEST.in_queue("slow").with_priority(3), NIGHTLY).request.queue == "slow"


REFUSED: list[tuple[Any, str]] = [
    (tidy, "'nightly' needs a request, as task.with_metadata"),
    (REQUEST.with_id(UUID(int=7)), "has an id of its own: leave with_id"),
    (REQUEST.with_key("k"), "has a key of its own: leave with_key.* the overlap policy"),
    (REQUEST.after(timedelta(hours=1)), "has a start of its own: leave after"),
    (REQUEST.at(datetime(2030, 1, 1, tzinfo=UTC)), "has a start of its own"),
]


@pytest.mark.parametrize(("request_", "complaint"), REFUSED, ids=[row[1][:30] for row in REFUSED])
def test_a_request_that_a_schedule_cannot_repeat_is_refused(request_: Any, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        Schedule("nightly", request_, NIGHTLY)


@pytest.mark.parametrize("key", ["", "x" * 201, "a\0b", "\ud800", 7])
def test_a_key_that_is_none_is_refused(key: Any) -> None:
    with pytest.raises(TaskDefinitionError, match="a key of a schedule is 1 to 200 characters"):
        Schedule(key, REQUEST, NIGHTLY)


def test_terms_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="run_limit of a schedule"):
        Schedule("nightly", REQUEST, NIGHTLY, run_limit=0)
