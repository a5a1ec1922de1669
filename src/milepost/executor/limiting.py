"""The part of a turn that keeps to limits: what was claimed too early is put back, and who waits for the share of a
task that ended is let in.

Runs in the turn's transaction, after what it hands in and what it claims. All that it decides on, it has locked before:
so limits hold exactly, whoever else takes a turn at the same time. Tasks without limits pass by.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import final

from attrs import field, frozen

from milepost.lifecycle import events
from milepost.lifecycle.change import Transition
from milepost.lifecycle.limiting import Verdict, decide, lacks_key, rate_key, share_key
from milepost.lifecycle.limits import LimitKey
from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.shares import Shares, has_waited
from milepost.lifecycle.states import LimitKind, TaskState
from milepost.lifecycle.transition import Policy, transition
from milepost.stores import flow
from milepost.stores.protocol import Session

_LINES_MAX = 200
_FORGOTTEN_MAX = 1_000
_IDLE = timedelta(minutes=1)


@final
@frozen
class Admitted:
    """Of the claimed tasks, those that may `start`; those that were turned away for good; how many wait, of what."""

    start: Sequence[TaskRecord]
    ended: Sequence[Transition] = ()
    waiting: Mapping[tuple[str, LimitKind], int] = field(factory=dict[tuple[str, LimitKind], int])


def admit(
    session: Session,
    claimed: Sequence[TaskRecord],
    handed_in: Iterable[TaskRecord | None],
    policies: Mapping[str, Policy],
    *,
    now: datetime,
) -> Admitted:
    """Decide which of the `claimed` tasks may start, and let in whoever waits for the share of a task that was
    `handed_in` and does not run any more."""
    asking = [record for record in claimed if policies[record.name].has_limits]
    freed = Counter(
        share_key(record)
        for record in handed_in
        if record is not None
        and record.state is not TaskState.RUNNING
        and _shares_max(policies, record.name) is not None
    )
    if not asking and not freed:
        return Admitted(claimed)
    verdict = _decide(session, asking, freed, policies, now)
    away = {record.id for record, _ in verdict.turned_away}
    changes = [_changed(record, event, policies, now) for record, event in verdict.turned_away]
    _let_in(session, verdict.let_in, now, changes)
    session.limits.put_rates(verdict.used)
    return Admitted(
        [record for record in claimed if record.id not in away],
        [change for change in changes if change.after.state is not TaskState.PENDING],
        Counter(
            (record.name, event.kind) for record, event in verdict.turned_away if isinstance(event, events.Limited)
        ),
    )


def tend(
    session: Session, policies: Mapping[str, Policy], *, now: datetime, after: LimitKey | None = None
) -> LimitKey | None:
    """Let in whoever waits though there is room, from behind the key `after` on, and forget rates that say nothing.

    For what happens behind the back of those that end: a limit that was raised or taken away, a task that was cancelled
    after it had been let in. One too many that is let in waits again. Returns the key to go on behind, or None once all
    has been seen.
    """
    lines = session.limits.lines(after=after, limit=_LINES_MAX)
    known = [key for key in lines if key.name in policies]
    room = {key: _LINES_MAX for key in known if _shares_max(policies, key.name) is None}
    room |= _free(session, [key for key in known if key not in room], (), policies)
    line = session.limits.parked({key: free for key, free in room.items() if free > 0}, now=now)
    _let_in(session, [record for head in line.values() for record in head], now)
    session.limits.forget_rates(before=now - _IDLE, limit=_FORGOTTEN_MAX)
    return lines[-1] if len(lines) == _LINES_MAX else None


def _decide(
    session: Session,
    asking: Sequence[TaskRecord],
    freed: Counter[LimitKey],
    policies: Mapping[str, Policy],
    now: datetime,
) -> Verdict:
    keyed = [record for record in asking if not lacks_key(record, policies[record.name])]
    sharing = [record for record in keyed if _shares_max(policies, record.name) is not None]
    rates = {rate_key(record) for record in keyed if policies[record.name].rate_limit is not None}
    shares = {share_key(record) for record in sharing} | freed.keys()
    # All at once, in one order: two turns that locked one after the other could wait for each other.
    session.limits.lock(rates | shares)
    return decide(
        asking,
        policies,
        rates=session.limits.rates(rates) if rates else {},
        shares=_shares(session, shares, sharing, freed, policies, now),
        now=now,
    )


def _shares(
    session: Session,
    keys: Collection[LimitKey],
    sharing: Sequence[TaskRecord],
    freed: Counter[LimitKey],
    policies: Mapping[str, Policy],
    now: datetime,
) -> dict[LimitKey, Shares]:
    if not keys:
        return {}
    free = _free(session, keys, sharing, policies)
    # Who was claimed before may be taken over from a dead executor, with the share that it still has: as if that had
    # been given up just now. Where it was not so, one too many is let in, and waits again.
    freed = freed + Counter(share_key(record) for record in sharing if record.fence > 1 and not has_waited(record))
    # Whoever was let in and cannot start passes its share on, so as many more may be let in.
    promised = freed + Counter(share_key(record) for record in sharing if has_waited(record))
    most = {key: max(1, min(count, promised[key])) for key, count in free.items() if count > 0}
    line = session.limits.parked(most, now=now) if most else {}
    return {key: Shares(free[key], freed[key], line.get(key, ())) for key in keys}


def _free(
    session: Session, keys: Collection[LimitKey], sharing: Iterable[TaskRecord], policies: Mapping[str, Policy]
) -> dict[LimitKey, int]:
    """How many shares of each key nobody uses but those just claimed."""
    if not keys:
        return {}
    asking = Counter(map(share_key, sharing))
    running = session.limits.running(keys)
    return {key: max(0, (_shares_max(policies, key.name) or 0) - running[key] + asking[key]) for key in keys}


def _shares_max(policies: Mapping[str, Policy], name: str) -> int | None:
    policy = policies.get(name)
    return None if policy is None or policy.concurrency_limit is None else policy.concurrency_limit.limit


def _changed(record: TaskRecord, event: events.Event, policies: Mapping[str, Policy], now: datetime) -> Transition:
    decision = transition(record, event, now=now, policy=policies[record.name])
    if isinstance(decision, Transition):
        return decision
    raise AssertionError(f"the task {record.id} was just claimed and is {decision.state.value}")


def _let_in(session: Session, waiting: Iterable[TaskRecord], now: datetime, beside: Sequence[Transition] = ()) -> None:
    decisions = [transition(record, events.LetIn(), now=now) for record in waiting]
    changes = [*beside, *(decision for decision in decisions if isinstance(decision, Transition))]
    if changes:
        flow.write(session, changes, now=now)
