"""What verbs take besides the task that they are about, checked where it is given."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, TypeVar

from milepost.codec.scalars import shown
from milepost.errors import ConfigurationError
from milepost.kinds import is_a
from milepost.payload import storable_text

F = TypeVar("F", bound=Callable[..., Any])

_CHARACTERS_MAX: Final = 200
_SECONDS_MAX: Final = 1e15  # an integer may be larger than a clock can add


def checked_reason(reason: str) -> str:
    """`reason`, as history keeps it; raises `ConfigurationError` unless it is text."""
    if not is_a(reason, str):
        raise ConfigurationError(f"`reason` says why, in text, got {shown(reason)}; leave it out where there is none")
    return storable_text(reason)


def who(by: str) -> str:
    """`by`, as history keeps it; raises `ConfigurationError` when it is no text, or longer than a name."""
    if type(by) is not str or len(by) > _CHARACTERS_MAX:
        raise ConfigurationError(f"`by` names who asks, in text of up to {_CHARACTERS_MAX} characters, got {shown(by)}")
    return storable_text(by)


def checked_timeout(seconds: float | None) -> float:
    """`seconds` itself, infinity for None; raises `ConfigurationError` unless it is a number, which NaN is not."""
    if seconds is None:
        return math.inf
    if not is_a(seconds, int | float) or is_a(seconds, bool) or _is_nan(seconds):
        raise ConfigurationError(f"timeout_seconds is a number of seconds, or None for no limit, got {shown(seconds)}")
    return math.inf if seconds > _SECONDS_MAX else seconds


def _is_nan(seconds: object) -> bool:
    return isinstance(seconds, float) and math.isnan(seconds)  # it would make a float of an integer


def checked_function(function: F | None, name: str) -> F | None:
    """`function` itself; raises `ConfigurationError` unless it can be called, or is None."""
    if function is not None and not callable(function):
        raise ConfigurationError(f"`{name}` is a function, or None to change nothing, got {shown(function)}")
    return function
