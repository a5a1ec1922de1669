"""Retry policies: how many, how long, and for which errors."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.errors import ConfigurationError
from milepost.lifecycle.retry import Retry

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


def _delays(retry: Retry, *, failures: int) -> list[timedelta | None]:
    return [retry.delay(number) for number in range(1, failures + 1)]


def test_a_fixed_policy_waits_the_same_each_time_and_then_gives_up() -> None:
    assert _delays(Retry.fixed(2, SECOND), failures=4) == [SECOND, SECOND, None, None]


def test_listed_delays_are_used_in_their_order() -> None:
    assert _delays(Retry.delays([SECOND, DAY]), failures=3) == [SECOND, DAY, None]


def test_an_exponential_policy_grows_up_to_its_longest_delay() -> None:
    retry = Retry.exponential(5, SECOND, factor=3, longest=10 * SECOND, jitter=False)
    assert _delays(retry, failures=6) == [SECOND, 3 * SECOND, 9 * SECOND, 10 * SECOND, 10 * SECOND, None]


def test_a_custom_policy_is_given_the_number_of_the_retry() -> None:
    assert _delays(Retry.custom(3, lambda retry: retry * SECOND), failures=3) == [SECOND, 2 * SECOND, 3 * SECOND]


def test_a_negative_custom_delay_means_at_once() -> None:
    assert Retry.custom(1, lambda _: -SECOND).delay(1) == timedelta(0)


def test_never_retries_nothing() -> None:
    never = Retry.never()
    assert never.delay(1) is None
    assert not never.covers_error("any")


def test_the_default_retries_exceptions_and_takes_a_failure_for_an_answer() -> None:
    default = Retry.default()
    assert default.covers_exception(ValueError())
    assert not default.covers_error("any")
    assert [delay is not None for delay in _delays(default, failures=6)] == [True] * 5 + [False]


@given(st.integers(1, 50), st.text(max_size=10))
def test_jitter_takes_off_at_most_half_and_is_the_same_each_time(failures: int, seed: str) -> None:
    plain = Retry.exponential(50, SECOND, jitter=False).delay(failures)
    jittered = Retry.exponential(50, SECOND).delay(failures, seed=seed)
    assert plain is not None
    assert jittered is not None
    assert plain / 2 <= jittered <= plain
    assert jittered == Retry.exponential(50, SECOND).delay(failures, seed=seed)


def test_jitter_differs_from_task_to_task() -> None:
    retry = Retry.exponential(1, DAY)
    assert len({retry.delay(1, seed=str(n)) for n in range(20)}) == 20


@pytest.mark.parametrize("factor", [2, 2.5, 1e300, float("inf")])
def test_a_large_power_is_capped_and_never_overflows(factor: float) -> None:
    assert Retry.exponential(5_000, SECOND, factor=factor, jitter=False).delay(5_000) == DAY


def test_a_predicate_decides_which_failures_are_retried() -> None:
    retry = Retry.fixed(1, SECOND).when(lambda error: error == "busy")
    assert retry.covers_error("busy")
    assert not retry.covers_error("gone")


def test_a_predicate_makes_the_default_retry_failures_too() -> None:
    assert Retry.default().when(lambda _: True).covers_error("any")


def test_only_the_named_exceptions_and_their_subclasses_are_retried() -> None:
    retry = Retry.fixed(1, SECOND).on(OSError)
    assert retry.covers_exception(TimeoutError())
    assert not retry.covers_exception(ValueError())


def test_all_but_the_excepted_exceptions_are_retried() -> None:
    retry = Retry.fixed(1, SECOND).except_on(OSError)
    assert not retry.covers_exception(TimeoutError())
    assert retry.covers_exception(ValueError())


def test_on_and_except_on_together_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="not both"):
        Retry.fixed(1, SECOND).on(OSError).except_on(TimeoutError)


def test_settings_out_of_range_are_refused_when_they_are_made() -> None:
    with pytest.raises(ConfigurationError, match="times"):
        Retry.fixed(-1, SECOND)
    with pytest.raises(ConfigurationError, match="delays"):
        Retry.fixed(1, -SECOND)
    with pytest.raises(ConfigurationError, match="delays"):
        Retry.delays([SECOND, -SECOND])
    for factor in (0.5, float("nan")):
        with pytest.raises(ConfigurationError, match="factor"):
            Retry.exponential(1, SECOND, factor=factor)


def test_a_schedule_that_raises_means_no_retry() -> None:
    def schedule(retry: int) -> timedelta:
        raise ZeroDivisionError(retry)

    assert Retry.custom(3, schedule).delay(1) is None
