"""What a supervisor does when a worker process has ended: a decision over values, without clock, chance or process.

Starting up is strict: a mistake that the first worker makes before any was ready is told and ends the program. Running
is stubborn: once a worker was ready, whatever ends is replaced, after a delay that grows while it keeps ending.
"""

from __future__ import annotations

import signal
from typing import Final, TypeAlias, final

from attrs import frozen

from milepost.cli.ends import ExitCode

_MISTAKES: Final = (ExitCode.USAGE, ExitCode.STORE)


@final
@frozen
class RestartPolicy:
    """How patient a supervisor is. A worker that was ready for `settled_seconds` counts as if it had never failed."""

    first_seconds: float = 0.5
    factor: float = 2.0
    longest_seconds: float = 30.0
    settled_seconds: float = 60.0
    first_tries: int = 4


@final
@frozen
class WorkerEnd:
    """How a worker ended: its exit code, negative for a signal, and for how long it had been ready."""

    code: int
    up_seconds: float

    @property
    def told(self) -> str:
        """The end in words."""
        if self.code >= 0:
            return f"ended with exit code {self.code}"
        try:
            return f"was killed by {signal.Signals(-self.code).name}"
        except ValueError:
            return f"was killed by signal {-self.code}"


@final
@frozen
class Past:
    """What is known when a worker ends: the failures in its place, whether any worker was ever ready, and whether all
    are being stopped."""

    failures: int = 0
    was_anyone_ready: bool = False
    is_stopping: bool = False


@final
@frozen
class Restart:
    """Start another in its place after so many seconds; `failures` have now come one after the other."""

    after_seconds: float
    failures: int


@final
@frozen
class GiveUp:
    """Stop everything and end with `code`."""

    code: int


@final
@frozen
class Leave:
    """Its end was asked for; `was_clean` says whether it ended as it should."""

    was_clean: bool


Decision: TypeAlias = Restart | GiveUp | Leave


def decide(end: WorkerEnd, past: Past, policy: RestartPolicy, *, chance: float) -> Decision:
    """What follows from `end`; `chance`, from 0 to 1, spreads the restarts of workers that ended together."""
    if past.is_stopping:
        return Leave(was_clean=end.code == 0)
    if not past.was_anyone_ready and end.code in _MISTAKES:
        return GiveUp(end.code)
    failures = (0 if end.up_seconds >= policy.settled_seconds else past.failures) + 1
    if not past.was_anyone_ready and failures >= policy.first_tries:
        return GiveUp(ExitCode.FAILED)
    return Restart(delay_seconds(failures, policy, chance=chance), failures)


def delay_seconds(failures: int, policy: RestartPolicy, *, chance: float) -> float:
    """How long to wait after so many failures in a row: from half to all of a time that grows up to the longest."""
    # Not `factor ** failures` alone: a worker that fails for a week would overflow it.
    steps = min(failures - 1, 64)
    return min(policy.longest_seconds, policy.first_seconds * policy.factor**steps) * (0.5 + chance / 2)
