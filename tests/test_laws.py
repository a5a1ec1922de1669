"""The laws of `returns`, proved for all four results with everything that they can carry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast, get_args

import pytest
from attrs import evolve, frozen
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from returns.contrib.hypothesis import laws

from milepost.effects import Statement
from milepost.results import Cancellation, Failure, Final, Success, Suspended, TaskResult, TaskValue, Unchanged, Wake

pytestmark = pytest.mark.slow


@frozen
class Request:
    """Stands for a follow-up request."""

    name: str
    rejects_conflict: bool = False


_DELAYS = st.timedeltas(timedelta(0), timedelta(days=400))
_CARRIED = {
    "follow_ups": st.lists(st.builds(Request, st.sampled_from(["mail", "bill"])), max_size=2).map(tuple),
    "effects": st.lists(st.builds(Statement, st.sampled_from(["update a", "delete b"])), max_size=2).map(tuple),
}
_WAKES = st.one_of(
    st.none(), st.sampled_from(Wake), _DELAYS, st.datetimes(datetime(2000, 1, 1), timezones=st.just(UTC))
)


def results_of(container: Any) -> st.SearchStrategy[TaskResult[Any, Any, Any]]:
    """All four results, for the result type and the error type that the law asks for."""
    match get_args(container):
        case (result, error, *_):
            pass
        case _:
            result, error = int, str
    results, errors = st.from_type(result), st.from_type(error)
    return st.one_of(
        st.builds(Success, results, **_CARRIED),
        st.builds(Failure, errors, st.one_of(st.none(), st.just(Final.FINAL), _DELAYS), **_CARRIED),
        st.builds(Suspended, st.one_of(st.just(Unchanged.UNCHANGED), st.integers()), _WAKES, **_CARRIED),
        st.builds(Cancellation, errors, **_CARRIED),
    )


# For the checkers the results are plain generics, so they cannot know that these are lawful containers.
cast("Any", laws).check_all_laws(
    TaskValue,
    container_strategy=results_of,
    settings_kwargs={"derandomize": True, "deadline": None, "suppress_health_check": [HealthCheck.too_slow]},
)

# A Success has no place for a retry hint, so `swap` drops it, and what had one does not come back: see below.
del globals()["test_taskvalue_swappablen_double_swap_law"]


@given(results_of(TaskValue[int, str, int]))
def test_swapping_twice_gives_back_everything_but_a_retry_hint(result: TaskResult[int, str, int]) -> None:
    expected = evolve(result, retry=None) if isinstance(result, Failure) else result
    assert result.swap().swap() == expected


def test_all_laws_of_a_result_container_are_under_test() -> None:
    assert len([name for name in globals() if name.startswith("test_taskvalue_")]) == 16
