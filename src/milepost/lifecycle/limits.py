"""Limits on how often and how many tasks start: values of a task's definition, kept to by all executors together."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from typing import Any, NamedTuple, final

from attrs import field, frozen

from milepost.errors import ConfigurationError
from milepost.lifecycle.queues import WhenFull

KEY_CHARACTERS_MAX = 256
"""A limit's key is at most so long; a longer one is stored as its hash."""

_HOUR = timedelta(hours=1)
_SPAN_MAX = timedelta(days=3650)
_MICROSECOND = timedelta(microseconds=1)


class LimitKey(NamedTuple):
    """Whose share: the task's name, and what its limit's key function made of the metadata."""

    name: str
    key: str


def stored_key(key: str) -> str:
    """`key` as stores keep it: itself, or its hash where it is too long or no text that every database takes.

    >>> stored_key("ada"), stored_key("x" * 300)[:16]
    ('ada', 'sha256:0d4e2ca9e')
    """
    plain = str.__str__(key)  # of an enum, its text
    if len(plain) <= KEY_CHARACTERS_MAX and "\0" not in plain and _encodable(plain):
        return plain
    return f"sha256:{sha256(plain.encode(errors='surrogatepass')).hexdigest()}"


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
            _check_span(name, value)
        if self.starts_max > _SPAN_MAX // self.interval:
            raise ConfigurationError(
                f"RateLimit takes more than ten years to allow its burst of {self.starts_max}: use a smaller one"
            )
        _check_when_full("RateLimit", self.when_full)
        _check_key("RateLimit", self.key)

    @property
    def starts_max(self) -> int:
        """How many starts may come at once: `burst`, or `permits` where that says nothing."""
        return self.permits if self.burst is None else self.burst

    @property
    def interval(self) -> timedelta:
        """From one start to the next, in whole microseconds, rounded up.

        >>> RateLimit(100, timedelta(seconds=1)).interval
        datetime.timedelta(microseconds=10000)
        """
        return -(-self.per // _MICROSECOND // self.permits) * _MICROSECOND


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
        _check_key("ConcurrencyLimit", self.key)


def _check_count(kind: str, name: str, value: int) -> None:
    if type(value) is not int or value < 1:
        raise ConfigurationError(f"{kind} needs {name} to be a whole number from 1, got {value!r}")


def _check_span(name: str, value: object) -> None:
    if not isinstance(value, timedelta) or not timedelta(0) < value <= _SPAN_MAX:
        raise ConfigurationError(
            f"RateLimit needs {name} above zero, and at most ten years, as a timedelta, got {value!r}"
        )


def _check_when_full(kind: str, value: WhenFull) -> None:
    if value not in (WhenFull.WAIT, WhenFull.REJECT):
        raise ConfigurationError(f"{kind} can WAIT or REJECT when it is used up, got {value!r}")


def _check_key(kind: str, value: object) -> None:
    if value is not None and not callable(value):
        raise ConfigurationError(f"{kind} needs key to be a function of the metadata, or None, got {value!r}")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
