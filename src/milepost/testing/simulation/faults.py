"""What can go wrong in a simulation, and which of it a seed lets go wrong, how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from enum import Enum
from random import Random
from typing import Final, final

from attrs import field, frozen


class Fault(Enum):
    """One kind of misfortune. The value says what happens."""

    # of a call to the store
    REFUSED = "a call fails before anything is done"
    ROLLED_BACK = "a transaction is carried out and fails at its COMMIT"
    LOST_REPLY = "a transaction is committed, and its caller is told that nobody knows"
    CALLED_TWICE = "a transaction is undone and carried out again, as after a deadlock"
    SLOW_CALL = "a call waits for long before it is carried out, or its reply does"
    FROZEN_BEFORE_CALL = "a process is frozen after it decided to call, before the call is carried out"
    FROZEN_AFTER_CALL = "a process is frozen between the COMMIT and its reply"
    KILLED_BEFORE_CALL = "a process is killed when it is about to call"
    KILLED_AFTER_CALL = "a process is killed between the COMMIT and its reply"
    # of a hint
    LOST_HINT = "a hint never arrives"
    LATE_HINT = "a hint arrives seconds later"
    DOUBLED_HINT = "a hint arrives twice"
    # at any moment
    KILLED = "a process is killed at any checkpoint"
    FROZEN = "a process is frozen at any checkpoint, with all its threads, and goes on later"
    STALLED = "trio's thread of a process stands still; its other threads go on"
    OUTAGE = "the store cannot be reached for a while, by anybody"
    PARTITION = "one process cannot reach the store for a while"
    CLOCK_STEP = "the store's clock is set to another time"
    DEAF = "an executor hears no hints any more"
    FALSE_HINT = "everybody is told of something that did not happen"
    DRAINED = "an executor is asked to stop, as by SIGTERM"
    INTERRUPTED = "an executor is asked to stop, and once more while it does, as by a second SIGTERM"


OF_CONNECTIONS: Final = (Fault.REFUSED, Fault.ROLLED_BACK, Fault.LOST_REPLY, Fault.CALLED_TWICE, Fault.SLOW_CALL)
OF_CALLS: Final = (
    *OF_CONNECTIONS,
    Fault.FROZEN_BEFORE_CALL,
    Fault.FROZEN_AFTER_CALL,
    Fault.KILLED_BEFORE_CALL,
    Fault.KILLED_AFTER_CALL,
)
OF_HINTS: Final = (Fault.LOST_HINT, Fault.LATE_HINT, Fault.DOUBLED_HINT)
OF_MOMENTS: Final = (
    Fault.KILLED,
    Fault.FROZEN,
    Fault.STALLED,
    Fault.OUTAGE,
    Fault.PARTITION,
    Fault.CLOCK_STEP,
    Fault.DEAF,
    Fault.FALSE_HINT,
    Fault.DRAINED,
    Fault.INTERRUPTED,
)
_OFTEN: Final = {
    Fault.LOST_REPLY: 2,
    Fault.FROZEN_BEFORE_CALL: 0.7,
    Fault.FROZEN_AFTER_CALL: 0.3,
    Fault.KILLED_BEFORE_CALL: 0.1,
    Fault.KILLED_AFTER_CALL: 0.1,
}


@final
@frozen
class Weather:
    """What goes wrong under one seed: a random half of what may, each call's faults as often as `rates` says.

    Half, for faults hide each other: a store that refuses most calls never loses a reply.
    """

    enabled: frozenset[Fault]
    rates: dict[Fault, float]
    mean_seconds: float
    counts: Counter[Fault] = field(factory=Counter[Fault])

    @classmethod
    def drawn(cls, random: Random, allowed: Collection[Fault]) -> Weather:
        """The weather of a seed."""
        enabled = [each for each in Fault if each in allowed and random.random() < 0.5]
        rates = {each: random.choice((0.02, 0.05, 0.12)) * _OFTEN.get(each, 1) for each in enabled}
        return cls(frozenset(enabled), rates, random.choice((0.5, 1.5, 4.0)))

    def strikes(self, random: Random, candidates: Collection[Fault]) -> Fault | None:
        """Whether one of `candidates` strikes now, and which."""
        for fault in candidates:
            if fault in self.enabled and random.random() < self.rates[fault]:
                return fault
        return None

    def count(self, fault: Fault) -> None:
        """`fault` has struck."""
        self.counts[fault] += 1
