"""What a turn does with claimed tasks that have limits: who starts, who waits, who is let in. Pure.

Shares come first: a task that finds none uses up no start, and one that is given a later start takes no share until
then. So whichever of two limits is the narrower one is used to the full.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import assert_never, final

from attrs import define, field

from milepost.clock import later
from milepost.lifecycle import events
from milepost.lifecycle.events import Event
from milepost.lifecycle.limits import ConcurrencyLimit, LimitKey, RateLimit
from milepost.lifecycle.queues import WhenFull
from milepost.lifecycle.rates import BeyondHorizon, RateUse, StartsLater, StartsNow, give_start, spread
from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.shares import Shares, has_waited, place
from milepost.lifecycle.states import LimitKind
from milepost.lifecycle.transition import Policy

PARKED = timedelta(hours=1)
"""How long a task waits for a share if nobody lets it in; only what happens behind the back of milepost needs it."""


@final
@define
class Verdict:
    """What becomes of the claimed tasks: those that `start`, and what happens to the others.

    `let_in` waited and may try again; `used` is what the rates are used up to that anybody started under.
    """

    start: list[TaskRecord] = field(factory=list[TaskRecord])
    turned_away: list[tuple[TaskRecord, Event]] = field(factory=list[tuple[TaskRecord, Event]])
    let_in: list[TaskRecord] = field(factory=list[TaskRecord])
    used: dict[LimitKey, datetime] = field(factory=dict[LimitKey, datetime])


def rate_key(record: TaskRecord) -> LimitKey:
    """Whose rate a task uses."""
    return LimitKey(record.name, record.rate_key or "")


def share_key(record: TaskRecord) -> LimitKey:
    """Whose shares a task takes."""
    return LimitKey(record.name, record.concurrency_key or "")


def decide(
    claimed: Iterable[TaskRecord],
    policies: Mapping[str, Policy],
    *,
    rates: Mapping[LimitKey, RateUse],
    shares: Mapping[LimitKey, Shares],
    now: datetime,
) -> Verdict:
    """Decide on tasks of which each has a limit; `rates` and `shares` have an entry for every key of theirs."""
    verdict = Verdict()
    uses = dict(rates)
    for record in sorted(claimed, key=_order):
        policy = policies[record.name]
        event = _turned_away(record, policy, uses, shares, now)
        if event is not None:
            verdict.turned_away.append((record, event))
        else:
            verdict.start.append(record)
            if policy.rate_limit is not None:
                verdict.used[rate_key(record)] = uses[rate_key(record)].used_until
    for each in shares.values():
        verdict.let_in += each.let_in_the_rest()
    return verdict


def _order(record: TaskRecord) -> tuple[bool, bool, tuple[int, datetime, str]]:
    """Who was let in, who holds a slot, who is new; each by priority and arrival."""
    return not has_waited(record), record.slot_at is None, place(record)


def _turned_away(
    record: TaskRecord,
    policy: Policy,
    uses: dict[LimitKey, RateUse],
    shares: Mapping[LimitKey, Shares],
    now: datetime,
) -> Event | None:
    """What keeps the task from starting; None: nothing does, and what it uses is accounted for."""
    if lacks_key(record, policy):
        return events.Keyed(record.rate_key or "", record.concurrency_key or "")
    limit = policy.concurrency_limit
    account = None if limit is None else shares[share_key(record)]
    if limit is not None and account is not None and not account.has_room(record):
        return _no_share(record, limit, now)
    if policy.rate_limit is not None:
        event = _no_start(record, policy.rate_limit, uses, now)
        if event is not None:
            if account is not None:
                account.pass_on(record)
            return event
    if account is not None:
        account.take(record)
    return None


def _no_share(record: TaskRecord, limit: ConcurrencyLimit, now: datetime) -> Event:
    if limit.when_full is WhenFull.REJECT:
        return events.OverLimit(LimitKind.CONCURRENCY, f"{limit.limit} of {limit.limit} run already")
    return events.Limited(LimitKind.CONCURRENCY, later(now, spread(PARKED, record.id)), record.slot_at)


def _no_start(record: TaskRecord, limit: RateLimit, uses: dict[LimitKey, RateUse], now: datetime) -> Event | None:
    key = rate_key(record)
    start, uses[key] = give_start(limit, uses[key], now=now, slot_at=record.slot_at)
    match start:
        case StartsNow():
            return None
        case BeyondHorizon(earliest) if limit.when_full is WhenFull.REJECT:
            return events.OverLimit(LimitKind.RATE, f"the next start is free at {earliest.isoformat()}")
        case BeyondHorizon():
            until = later(now, spread(limit.horizon, record.id))
            return events.Limited(LimitKind.RATE, until)
        case StartsLater(until):
            return events.Limited(LimitKind.RATE, until, until)
        case _:
            assert_never(start)


def lacks_key(record: TaskRecord, policy: Policy) -> bool:
    """Whether a row was written before its definition had the limit that it has now."""
    return (policy.rate_limit is not None and record.rate_key is None) or (
        policy.concurrency_limit is not None and record.concurrency_key is None
    )
