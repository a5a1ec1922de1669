"""Limits on how often and how many tasks start: values of a task's definition, kept to by all executors together."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, final

from attrs import field, frozen

from milepost.errors import ConfigurationError
from milepost.lifecycle.queues import WhenFull

KEY_CHARACTERS_MAX = 256
"""A limit's key is at most so long; a longer one is stored as its hash."""

_HOUR = timedelta(hours=1)


@final
@frozen
class RateLimit:
    """At most `permits` starts per `per`, with bursts of up to `burst` (None: as many as `permits`).

    Each key has a rate of its own: `key` is a pure function of the metadata; None is one rate for all. Each start of an
    attempt counts, retries too. A task that is too early is given a start of its own and holds no slot until then;
    where that start would be more than `horizon` away it waits on without one, or with `WhenFull.REJECT` fails.
    Raises `ConfigurationError` for what is out of range.
    """

    permits: int
    per: timedelta
    burst: int | None = None
    key: Callable[[Any], str] | None = field(default=None, repr=False, kw_only=True)
    horizon: timedelta = field(default=_HOUR, kw_only=True)
    when_full: WhenFull = field(default=WhenFull.WAIT, kw_only=True)

    def __attrs_post_init__(self) -> None:
        _check_count("RateLimit", "permits", self.permits)
        if self.burst is not None:
            _check_count("RateLimit", "burst", self.burst)
        for name, value in (("per", self.per), ("horizon", self.horizon)):
            if value <= timedelta(0):
                raise ConfigurationError(f"RateLimit needs {name} above zero, got {value!r}")
        _check_when_full("RateLimit", self.when_full)


@final
@frozen
class ConcurrencyLimit:
    """At most `limit` tasks run at once, in the whole fleet.

    Each key has a limit of its own: `key` is a pure function of the metadata; None is one limit for all. Who has to
    wait holds no slot, and is let in, highest priority first, by whoever ends. With `WhenFull.REJECT` it fails instead.
    Raises `ConfigurationError` for what is out of range.
    """

    limit: int
    key: Callable[[Any], str] | None = field(default=None, repr=False, kw_only=True)
    when_full: WhenFull = field(default=WhenFull.WAIT, kw_only=True)

    def __attrs_post_init__(self) -> None:
        _check_count("ConcurrencyLimit", "limit", self.limit)
        _check_when_full("ConcurrencyLimit", self.when_full)


def _check_count(kind: str, name: str, value: int) -> None:
    if type(value) is not int or value < 1:
        raise ConfigurationError(f"{kind} needs {name} to be a whole number from 1, got {value!r}")


def _check_when_full(kind: str, value: WhenFull) -> None:
    if value not in (WhenFull.WAIT, WhenFull.REJECT):
        raise ConfigurationError(f"{kind} can WAIT or REJECT when it is used up, got {value!r}")
