"""The request of a schedule as it is stored: everything of it, the same every time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import frozen

from milepost import Audit, ConcurrencyLimit, Empty, RateLimit, Success, TaskRequest, TaskResult, task
from milepost.lifecycle.draft import Draft
from milepost.lifecycle.ties import Tie
from milepost.payload import JsonText
from milepost.schedules.template import RequestTemplate, template_from_json, template_to_json

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


@frozen
class Report:
    region: str
    factors: tuple[float, ...] = (1.0, 1e300, -0.0)


@task(
    name="report",
    version=3,
    deadline_seconds=60,
    start_within_seconds=30,
    queue="slow",
    priority=4,
    rate_limit=RateLimit(5, timedelta(seconds=1), key=lambda report: report.region),
    concurrency_limit=ConcurrencyLimit(2),
    upgrades={1: lambda m, x: (m, x), 2: lambda m, x: (m, x)},
)
def report(_: Report, __: Empty) -> TaskResult[Empty, Empty]:
    return Success.with_empty_result().for_empty_error()


@task(name="plain")
def plain(_: int, __: int) -> TaskResult[int, int]:
    return Success.with_result(1).for_error(int)


def _draft(request: TaskRequest[Any, Any, Any, Any], audit: Audit = Audit.TRANSITIONS) -> Draft:
    draft = request.draft(audit)
    assert isinstance(draft, Draft)
    return draft


EVERYTHING = report.with_metadata(Report("süd")).with_correlation("order-42").with_audit(Audit.FULL)
REQUESTS = [
    EVERYTHING,
    plain.with_metadata(7).with_execution_metadata(8),
    report.with_metadata(Report("x")).in_queue("q"),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=["everything", "plain", "another queue"])
def test_the_stored_request_enqueues_what_the_request_itself_would(request_: TaskRequest[Any, Any, Any, Any]) -> None:
    direct = _draft(request_)
    stored = template_to_json(RequestTemplate.of(direct))
    repeated = template_from_json(stored).unwrap().draft()
    assert repeated.id != direct.id
    assert repeated.record(NOW).changed({"id": direct.id}) == direct.record(NOW)
    assert template_to_json(RequestTemplate.of(repeated)) == stored


def test_each_enqueueing_has_an_id_of_its_own() -> None:
    template = RequestTemplate.of(_draft(EVERYTHING))
    assert len({template.draft().id for _ in range(3)}) == 3


def test_what_the_end_of_the_task_must_see_to_is_kept() -> None:
    draft = _draft(EVERYTHING)
    hooked = draft._replace(blank=draft.blank.changed({"ties": Tie.HOOKED}))
    stored = template_to_json(RequestTemplate.of(hooked))
    assert template_from_json(stored).unwrap().draft().record(NOW).ties is Tie.HOOKED


def test_people_can_read_the_payloads_in_it() -> None:
    stored = json.loads(template_to_json(RequestTemplate.of(_draft(EVERYTHING))))
    assert stored["metadata"] == {"region": "süd", "factors": [1.0, 1e300, -0.0]}
    assert (stored["name"], stored["version"], stored["rate_key"], stored["concurrency_key"]) == (
        "report",
        3,
        "süd",
        "",
    )


def test_a_payload_does_not_stand_in_a_log() -> None:
    assert "süd" not in repr(RequestTemplate.of(_draft(EVERYTHING))).replace("rate_key='süd'", "")


def test_the_largest_payloads_fit() -> None:
    draft = _draft(plain.with_metadata(1).with_execution_metadata(2))
    nested = JsonText("[" * 64 + f'"{"x" * (1 << 21)}"' + "]" * 64)
    large = draft._replace(metadata_json=nested, execution_metadata_json=nested)
    again = template_from_json(template_to_json(RequestTemplate.of(large))).unwrap()
    assert (again.metadata, again.execution_metadata) == (nested, nested)


DAMAGED = [
    ("[]", "$: [] is no object"),
    ('{"name":"x"}', "$: "),
    ('{"colour":1}', "$: has fields that RequestTemplate does not know: colour"),
    ("{", "$: not JSON"),
]


@pytest.mark.parametrize(("stored", "complaint"), DAMAGED, ids=[row[0] for row in DAMAGED])
def test_a_damaged_one_says_where(stored: str, complaint: str) -> None:
    assert str(template_from_json(stored).failure()).startswith(complaint)


def test_a_part_of_another_kind_says_where() -> None:
    stored = template_to_json(RequestTemplate.of(_draft(EVERYTHING))).replace('"version":3', '"version":"3"')
    assert str(template_from_json(stored).failure()) == "$.version: '3' is no int"
