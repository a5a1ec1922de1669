"""Settings are one frozen value, and a wrong one says which and why when it is built."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest

from milepost import (
    ConfigurationError,
    Empty,
    ExecutorConfig,
    Store,
    Success,
    TaskDefinitionError,
    TaskResult,
    open_executor,
    task,
)
from tests.executor.kit import quick

pytestmark = pytest.mark.anyio

DURATIONS_ABOVE_ZERO = ("lease_seconds", "stall_seconds", "poll_seconds", "effect_seconds")
DURATIONS_FROM_ZERO = ("drain_seconds", "cleanup_seconds")
COUNTS = ("concurrency", "stalls_max")


@task
def count(metadata: int, progress: Empty) -> TaskResult[int, str]:
    return Success.with_result(metadata).for_error(str)


@pytest.mark.parametrize("name", [*DURATIONS_ABOVE_ZERO, *DURATIONS_FROM_ZERO])
@pytest.mark.parametrize("value", [-1, math.nan, math.inf])
def test_a_duration_that_is_negative_or_not_a_number_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=rf"ExecutorConfig\.{name} must be"):
        ExecutorConfig(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", DURATIONS_ABOVE_ZERO)
def test_a_duration_of_zero_is_refused_where_it_would_mean_never(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"ExecutorConfig\.{name} must be above 0, got 0"):
        ExecutorConfig(**{name: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "8"])
def test_a_count_is_a_whole_number_from_one(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"ExecutorConfig\.{name} must be a whole number from 1, got"):
        ExecutorConfig(**{name: value})


def test_no_queue_at_all_is_refused_for_nothing_would_run() -> None:
    with pytest.raises(ConfigurationError, match="nothing would run; leave it out to serve all"):
        ExecutorConfig(queues={})


def test_a_queue_without_a_slot_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"queues\['bulk'\] must be a whole number from 1, got 0"):
        ExecutorConfig(queues={"default": 1, "bulk": 0})


@pytest.mark.parametrize("name", ["", "no spaces", 5])
def test_a_queue_that_no_task_can_be_in_is_refused(name: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"the key of ExecutorConfig\.queues {name!r} is not a name: use 1 to"
    ):
        ExecutorConfig(queues={name: 1})


def test_settings_cannot_be_changed_in_place() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ExecutorConfig().concurrency = 3  # type: ignore[misc]


@pytest.mark.parametrize("name", [*DURATIONS_ABOVE_ZERO, *DURATIONS_FROM_ZERO])
def test_a_duration_is_a_number(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"ExecutorConfig\.{name} must be .*, got '10'"):
        ExecutorConfig(**{name: "10"})  # type: ignore[arg-type]


def test_queues_without_their_limits_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"maps names to limits, as \{'mail': 2\}, got \['mail'\]"):
        ExecutorConfig(queues=["mail"])  # type: ignore[arg-type]


async def test_an_executor_says_what_it_is_opened_with(store: Store) -> None:
    wrong: Any
    for wrong in (5, 0, {"concurrency": 1}):
        with pytest.raises(ConfigurationError, match=r"the config of an executor is an ExecutorConfig, as .*, got"):
            async with open_executor(store, [count], config=wrong):
                pass
    wrong = count
    with pytest.raises(TaskDefinitionError, match=r"the tasks are given as a list, as \[task\], got"):
        async with open_executor(store, wrong):
            pass
    wrong = store.url
    with pytest.raises(ConfigurationError, match=r"a store is what .* gives, .* got a str"):
        async with open_executor(wrong, [count]):
            pass


async def test_a_running_executor_goes_on_as_before_after_settings_that_are_none(store: Store) -> None:
    wrong: Any = None
    async with open_executor(store, [count], config=quick()) as executor:
        with pytest.raises(ConfigurationError, match="the config of an executor is an ExecutorConfig"):
            executor.reconfigure(wrong)
        assert executor.config == quick()
