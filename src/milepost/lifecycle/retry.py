"""Retry policies as values: how often, how long after which failure, and for which errors.

Delays are computed when a failure is stored; the task waits in the store, without a slot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, final
from zlib import crc32

import attrs
from attrs import frozen

from milepost.errors import ConfigurationError
from milepost.text import shown

_NEVER: Callable[[int], timedelta] = lambda _: timedelta(0)  # noqa: E731
_LONGEST = timedelta(days=1)


@final
@frozen
class Retry:
    """When a failed attempt is tried again. `times` counts retries: a task that keeps failing runs `times + 1` times.

    A policy given to a task covers exceptions, time-outs and returned Failures. The default that a task has without
    one retries only exceptions and time-outs: a returned Failure is an answer.

    >>> Retry.fixed(2, timedelta(seconds=10)).delay(1), Retry.fixed(2, timedelta(seconds=10)).delay(3)
    (datetime.timedelta(seconds=10), None)
    """

    times: int
    schedule: Callable[[int], timedelta] = attrs.field(repr=False)
    jitter: bool = False
    failures: bool = True
    predicate: Callable[[Any], bool] | None = attrs.field(default=None, repr=False)
    only: tuple[type[BaseException], ...] = ()
    excepted: tuple[type[BaseException], ...] = ()

    def __attrs_post_init__(self) -> None:
        if type(self.times) is not int or self.times < 0:
            raise ConfigurationError(f"Retry needs times of 0 or more, got {shown(self.times)}")
        if self.only and self.excepted:
            raise ConfigurationError("Retry takes on(...) or except_on(...), not both: which one would decide?")

    @staticmethod
    def never() -> Retry:
        """Do not retry anything."""
        return Retry(0, _NEVER, failures=False)

    @staticmethod
    def default() -> Retry:
        """What a task without a policy has: exceptions 5 times, exponential from 1 second; a Failure is final."""
        return attrs.evolve(Retry.exponential(5, timedelta(seconds=1)), failures=False)

    @staticmethod
    def fixed(times: int, every: timedelta) -> Retry:
        """`times` retries, each after the same delay."""
        _check_delay(every)
        return Retry(times, lambda _: every)

    @staticmethod
    def delays(delays: Sequence[timedelta]) -> Retry:
        """One retry after each of `delays`."""
        kept = tuple(delays)
        for delay in kept:
            _check_delay(delay)
        return Retry(len(kept), lambda retry: kept[retry - 1])

    @staticmethod
    def exponential(
        times: int, base: timedelta, factor: float = 2, longest: timedelta = _LONGEST, jitter: bool = True
    ) -> Retry:
        """Retry n waits `base * factor ** (n - 1)`, at most `longest`; jitter takes off up to half of it."""
        _check_delay(base)
        _check_delay(longest)
        if not factor >= 1:  # NaN too
            raise ConfigurationError(f"Retry.exponential needs a factor of 1 or more, got {factor}")
        # Computed in seconds and capped before a timedelta is made: a large power would overflow it.
        limit = longest.total_seconds()

        def schedule(retry: int) -> timedelta:
            try:
                return timedelta(seconds=min(limit, base.total_seconds() * factor ** (retry - 1)))
            except OverflowError:
                return longest

        return Retry(times, schedule, jitter)

    @staticmethod
    def custom(times: int, schedule: Callable[[int], timedelta]) -> Retry:
        """Your own pure function from the retry's number, from 1, to its delay; if it raises, there is no retry."""
        return Retry(times, schedule)

    def when(self, predicate: Callable[[Any], bool]) -> Retry:
        """Retry a returned Failure only if `predicate(error)` holds."""
        return attrs.evolve(self, predicate=predicate, failures=True)

    def on(self, *exceptions: type[BaseException]) -> Retry:
        """Retry only these exceptions and their subclasses (a time-out is a TimeoutError)."""
        return attrs.evolve(self, only=exceptions)

    def except_on(self, *exceptions: type[BaseException]) -> Retry:
        """Retry all exceptions but these and their subclasses."""
        return attrs.evolve(self, excepted=exceptions)

    def covers_error(self, error: object) -> bool:
        """Whether a returned Failure with `error` may be retried at all."""
        return self.failures and (self.predicate is None or bool(self.predicate(error)))

    def covers_exception(self, error: BaseException) -> bool:
        """Whether an attempt that ended in `error` may be retried at all."""
        return not isinstance(error, self.excepted) and (not self.only or isinstance(error, self.only))

    def delay(self, failures: int, *, seed: str = "") -> timedelta | None:
        """How long to wait after failure number `failures`, or None when the retries are used up.

        Jitter is drawn from `seed` and the number, so that the decision stays a pure function.
        """
        if failures > self.times:
            return None
        try:
            delay = max(self.schedule(failures), timedelta(0))
        except Exception:  # a schedule of the user's: a failure that could never be stored would run for ever
            return None
        if not self.jitter:
            return delay
        share = crc32(f"{seed}:{failures}".encode()) / 2**32
        return delay * (1 - share / 2)


def _check_delay(delay: timedelta) -> None:
    if type(delay) is not timedelta or delay < timedelta(0):
        raise ConfigurationError(f"Retry needs delays of zero or more, got {shown(delay)}")
