"""On what terms an executor starts tasks, as it announces them with its lease: for those who ask why it does not.

Nobody claims by another one's terms; they are told so that `lifecycle.explanation` can say what its owner would do.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, final

import attrs
from attrs import frozen

from milepost.errors import ConfigurationError
from milepost.lifecycle.limits import ConcurrencyLimit, RateLimit
from milepost.lifecycle.queues import WhenFull
from milepost.lifecycle.transition import STALLS_MAX, Policy
from milepost.payload import JsonText, from_json_text, to_json_text

_MICROSECOND = timedelta(microseconds=1)


@final
@frozen(kw_only=True)
class Terms:
    """How many tasks of each queue an executor runs at once, if it says so, and the limits of its tasks, by name.

    `stalls_max` is how many claims without progress it allows. The limits are without their key functions.
    """

    stalls_max: int = STALLS_MAX
    queue_slots: Mapping[str, int] = attrs.field(factory=dict[str, int])
    rates: Mapping[str, RateLimit] = attrs.field(factory=dict[str, RateLimit])
    concurrency: Mapping[str, ConcurrencyLimit] = attrs.field(factory=dict[str, ConcurrencyLimit])

    @classmethod
    def of(cls, policies: Mapping[str, Policy], *, stalls_max: int, queue_slots: Mapping[str, int]) -> Terms:
        """The terms of an executor with these settings, whose tasks have these policies."""
        rates = {name: policy.rate_limit for name, policy in policies.items()}
        limits = {name: policy.concurrency_limit for name, policy in policies.items()}
        return cls(
            stalls_max=stalls_max,
            queue_slots=dict(queue_slots),
            rates={name: attrs.evolve(rate, key=None) for name, rate in rates.items() if rate is not None},
            concurrency={name: attrs.evolve(limit, key=None) for name, limit in limits.items() if limit is not None},
        )

    def to_json_text(self) -> JsonText:
        """The text that `from_json_text` reads."""
        return to_json_text(
            {
                "stalls_max": self.stalls_max,
                "queue_slots": dict(self.queue_slots),
                "rates": {name: _told_rate(rate) for name, rate in self.rates.items()},
                "concurrency": {name: _told_limit(limit) for name, limit in self.concurrency.items()},
            }
        ).unwrap()

    @classmethod
    def from_json_text(cls, text: str) -> Terms:
        """The terms that were stored; the default ones in the place of what is damaged, or of an older executor's."""
        told: Any = from_json_text(text).value_or(None)
        try:
            return cls(
                stalls_max=told["stalls_max"],
                queue_slots=dict(told["queue_slots"]),
                rates={name: _rate(each) for name, each in told["rates"].items()},
                concurrency={name: _limit(each) for name, each in told["concurrency"].items()},
            )
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, ConfigurationError):
            return cls()


def _told_rate(rate: RateLimit) -> dict[str, Any]:
    return {
        "permits": rate.permits,
        "per": rate.per // _MICROSECOND,
        "burst": rate.burst,
        "horizon": rate.horizon // _MICROSECOND,
        "when_full": rate.when_full.value,
    }


def _rate(told: Any) -> RateLimit:
    return RateLimit(
        told["permits"],
        told["per"] * _MICROSECOND,
        told["burst"],
        horizon=told["horizon"] * _MICROSECOND,
        when_full=WhenFull(told["when_full"]),
    )


def _told_limit(limit: ConcurrencyLimit) -> dict[str, Any]:
    return {"limit": limit.limit, "when_full": limit.when_full.value}


def _limit(told: Any) -> ConcurrencyLimit:
    return ConcurrencyLimit(told["limit"], when_full=WhenFull(told["when_full"]))
