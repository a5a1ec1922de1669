"""How two answers that are not equal are told apart."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import frozen

from milepost import Cancellation, Crash, CrashKind, Failure, Success, Suspended
from milepost.testing import Cut, CutAt, Difference
from milepost.testing.comparing import differing_parts, told_comparison


@frozen
class Row:
    number: int
    tags: tuple[str, ...] = ()
    by_name: dict[str, int] | None = None


@pytest.mark.parametrize(
    ("left", "right", "lines"),
    [
        (Success(Row(1)), Success(Row(2)), ["  .result.number: 1 is not 2"]),
        (Success(Row(1, ("a", "b"))), Success(Row(1, ("a",))), ["  .result.tags[1]: 'b' is not nothing"]),
        (
            Failure(Row(1, (), {"a": 1, "b": 2})),
            Failure(Row(1, (), {"a": 3, "c": 2})),
            [
                "  .error.by_name['a']: 1 is not 3",
                "  .error.by_name['b']: 2 is not nothing",
                "  .error.by_name['c']: nothing is not 2",
            ],
        ),
        (Failure("a").final(), Failure("a"), ["  .retry: <Final.FINAL: 'final'> is not None"]),
        (Success(1), Success("1"), ["  .result: 1 is not '1'"]),
        (Suspended(Row(1)), Suspended(Row(1)).at_once(), ["  .wake: None is not <Wake.AT_ONCE: 'at once'>"]),
        (Success(1), Failure(1), []),
        (Cancellation(1), 1, []),
        (None, Success(1), []),
    ],
)
def test_the_smallest_parts_that_differ_are_named_with_their_paths(left: Any, right: Any, lines: list[str]) -> None:
    assert told_comparison(left, right) == [f"{left!r} is not {right!r}", *lines]


def test_of_a_crash_its_traceback_is_shown() -> None:
    crash = Crash(CrashKind.EXCEPTION, "no row 3", "LookupError", "Traceback\n  line 7\nLookupError: no row 3\n")
    assert told_comparison(Success(1), crash) == [
        "Success(result=1) is not Crash(exception, LookupError: no row 3)",
        "  the right one crashed:",
        "    Traceback",
        "      line 7",
        "    LookupError: no row 3",
    ]
    assert told_comparison(Crash(CrashKind.TIMEOUT), 1) == ["Crash(timeout) is not 1"]


def test_what_a_crash_matrix_found_is_told_one_after_the_other() -> None:
    cut = Cut("send", CutAt.BEFORE_COMMIT, 2, Row(1), "send.py:3: await execution.commit(row)")
    found = Difference(cut, "observation", {"a": 1}, {"a": 1, "b": 2})
    lines = told_comparison((found, found), ())
    assert lines is not None
    assert lines[:6] == [
        "cut 'send' before commit 2, Row(number=1, tags=(), by_name=None)",
        "  at send.py:3: await execution.commit(row)",
        "  observation",
        "    uncut    {'a': 1}",
        "    cut      {'a': 1, 'b': 2}",
        "    more     'b': 2",
    ]
    assert lines.count("") == 1


def test_everything_else_is_left_to_others() -> None:
    assert told_comparison([1], [2]) is None
    assert told_comparison((), ()) is None
    assert told_comparison((1,), ()) is None


def test_equal_parts_are_not_told() -> None:
    assert list(differing_parts(Row(1), Row(1))) == []
    assert list(differing_parts("ab", "ac")) == [("", "'ab'", "'ac'")]
