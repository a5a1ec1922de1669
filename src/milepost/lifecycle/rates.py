"""Who starts when under a rate limit: the generic cell rate algorithm (GCRA), over starts that happen. Pure.

What a key has used up is one instant, `used_until`: each start moves it one interval further, and a start conforms if
that instant is less than a burst away. So no window of any length sees more starts than a burst and what the rate gives
for its length, whoever starts late. Who comes too early is given a *slot*, a start of its own, one interval behind the
last one: a line of waiting tasks is spread once, and does not come back as a herd.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypeAlias, final
from zlib import crc32

import attrs
from attrs import frozen

from milepost.clock import EPOCH
from milepost.lifecycle.limits import RateLimit


@final
@frozen
class RateUse:
    """How much of a rate is used up: until when, and the last slot that a waiting task holds.

    `promised` counts the starts that this turn has put off by a little; they follow each other too.
    """

    used_until: datetime = EPOCH
    last_slot: datetime = EPOCH
    promised: int = 0


@final
@frozen
class StartsNow:
    """The start conforms."""


@final
@frozen
class StartsLater:
    """The task is too early; `slot_at` is the start that is its own from now on."""

    slot_at: datetime


@final
@frozen
class BeyondHorizon:
    """Every start within the horizon is taken; the next one is at `earliest`."""

    earliest: datetime


Start: TypeAlias = StartsNow | StartsLater | BeyondHorizon


def give_start(limit: RateLimit, use: RateUse, *, now: datetime, slot_at: datetime | None) -> tuple[Start, RateUse]:
    """Decide when a claimed task starts, and what the rate's use is then. `slot_at` is the slot that it holds, if any.

    Of several tasks of one turn, those that hold a slot are asked for first.
    """
    conforms_from = use.used_until - limit.interval * (limit.starts_max - 1)
    # Others must not overtake who waits for its slot, unless so much was left unused that nobody loses by it.
    is_next = slot_at is not None or use.last_slot <= now or use.used_until <= now
    if is_next and conforms_from <= now:
        return StartsNow(), attrs.evolve(use, used_until=max(use.used_until, now) + limit.interval)
    earliest = conforms_from + use.promised * limit.interval
    # Who is a little late waits a little. The others, as after an outage, go to the end of the line: to let all of them
    # try again soon would be the herd.
    if slot_at is not None and earliest <= now + limit.interval:
        put_off = attrs.evolve(use, last_slot=max(use.last_slot, earliest), promised=use.promised + 1)
        return StartsLater(earliest), put_off
    slot = max(use.last_slot + limit.interval, earliest)
    if slot_at is None and slot > now + limit.horizon:
        return BeyondHorizon(slot), use
    return StartsLater(slot), attrs.evolve(use, last_slot=slot)


def spread(span: timedelta, seed: str) -> timedelta:
    """Between half of `span` and all of it, always the same for one `seed`.

    Those that found no start within the horizon come back so: one after the other, and before the line runs dry.

    >>> timedelta(30) <= spread(timedelta(60), "ada") <= timedelta(60)
    True
    """
    return span / 2 + span / 2 * (crc32(seed.encode(errors="surrogatepass")) / 0xFFFFFFFF)
