"""What an executor tells of its store while calls overlap."""

from __future__ import annotations

import pytest

from milepost.errors import StoreUnreachable
from milepost.executor.store_health import StoreHealth
from milepost.telemetry import Observation, StoreChanged, StoreCondition

pytestmark = pytest.mark.anyio

AWAY = StoreUnreachable("away")
EARLY, LATER = 1.0, 2.0


async def test_a_call_that_fails_after_a_later_one_was_answered_is_no_news() -> None:
    told: list[Observation] = []
    health = StoreHealth(told.append)
    health.answered(LATER)
    await health.failed(AWAY, EARLY, longest=0)
    assert (health.condition, told) == (StoreCondition.UP, [])


async def test_a_call_that_fails_and_was_sent_after_all_that_were_answered_is_told_until_one_is_answered() -> None:
    told: list[Observation] = []
    health = StoreHealth(told.append)
    health.answered(LATER)
    health.answered(EARLY)
    for _ in range(2):
        await health.failed(AWAY, LATER, longest=0)
    health.answered(LATER)
    assert told == [StoreChanged(StoreCondition.UNREACHABLE, "away"), StoreChanged(StoreCondition.UP, "")]
