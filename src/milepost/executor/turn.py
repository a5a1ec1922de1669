"""The turn: one transaction hands back what runs have done since the last one, and takes new work for free slots.

Runs on the store's own thread, so it gets and gives plain values and touches no state of the executor. Decisions are
`transition`'s; a write that the store refuses is looked at once more (somebody may have asked for a cancel meanwhile)
before the claim is given up as lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import final

from attrs import frozen

from milepost.clock import EPOCH
from milepost.effects import Statement
from milepost.errors import ClaimLost
from milepost.lifecycle import events
from milepost.lifecycle.events import Event
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.lifecycle.transition import Policy, Transition, admission, is_suspect, transition
from milepost.stores.protocol import ClaimOrder, Held, Lease, Report, Session


@final
class EffectRaised(Exception):
    """Carries what the user's own effect raised out of the transaction, so that no fault of the store is seen in it."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


_REMEMBERED = timedelta(hours=1)
"""How long the lease of a dead executor is kept for people to see."""


@final
@frozen
class Delivery:
    """One thing that a run has to hand in: what happened, to the record as the run last knew it."""

    record: TaskRecord
    event: Event
    policy: Policy
    effects: tuple[Statement, ...] = ()


@final
@frozen
class Demand:
    """What the executor could take: so many in all, and so many of each queue (None: of any).

    `known` are the queues that the last turn found; the store is asked for others when they do not fill the demand, or,
    unless `searches`, only when they have nothing.
    """

    limit: int
    queues: Mapping[str, int] | None
    rotation: int = 0
    known: Sequence[str] = ()
    searches: bool = True


@final
@frozen(kw_only=True)
class TurnPlan:
    """All that one turn is to do. It renews if told so, or if the store's clock has come to `renew_from`.

    `may_be_suspect` says that no suspect runs yet, so that one more may be taken (`lifecycle.transition.is_suspect`).
    """

    executor: str
    names: Mapping[str, int]
    policies: Mapping[str, Policy]
    deliveries: Sequence[Delivery] = ()
    reports: Sequence[Report] = ()
    demand: Demand | None = None
    may_be_suspect: bool = True
    lease_seconds: float
    running: int = 0
    renew: bool = False
    renew_from: datetime = EPOCH
    reconcile: frozenset[TaskId] | None = None
    look_for_cancels: bool = True


@final
@frozen(kw_only=True)
class TurnReceipt:
    """What became durable. `written` answers each delivery: the record as it is now, or None for a lost claim."""

    written: Sequence[TaskRecord | None]
    claimed: Sequence[TaskRecord] = ()
    ended: Sequence[Transition] = ()
    cancel_requests: Sequence[Held] = ()
    held: Sequence[Held] | None = None
    queues: Sequence[str] = ()
    searched: bool = False
    renewed: bool = False
    lease_alive: bool = True
    next_due: datetime | None = None
    now: datetime


def take_turn(session: Session, plan: TurnPlan) -> TurnReceipt:
    """Carry out `plan` in the session's transaction."""
    now = session.now()
    written = deliver(session, plan.deliveries, now=now)
    if plan.reports:
        session.report(plan.reports)
    # Renew before claiming: an executor that is late would otherwise count as dead and steal from itself. After a sleep
    # of the machine the store's clock alone knows that it is late. Renew after writing: an effect's transaction locks
    # its task before the lease as well, and two that locked them crosswise would wait for each other.
    renewing = plan.renew or now >= plan.renew_from
    alive = not renewing or renew(session, plan.executor, plan.lease_seconds, now=now, running=plan.running)
    if not alive:
        return TurnReceipt(written=written, lease_alive=False, now=now)
    held = None if plan.reconcile is None else _reconcile(session, plan, now)
    found = _Found() if plan.demand is None else _claim(session, plan, plan.demand, now)
    return TurnReceipt(
        written=written,
        claimed=found.claimed,
        ended=found.ended,
        cancel_requests=session.cancel_requests(plan.executor) if plan.look_for_cancels else (),
        held=held,
        queues=found.queues,
        searched=found.searched,
        renewed=renewing,
        next_due=session.next_due(plan.names, found.queues) if plan.demand and not found.claimed else None,
        now=now,
    )


def renew(session: Session, executor: str, seconds: float, *, now: datetime, running: int) -> bool:
    """Extend the lease; False when the others have forgotten this executor."""
    return session.renew(executor, now=now, lease_until=now + timedelta(seconds=seconds), running=running)


def change_lease(session: Session, before: str | None, lease_from: Callable[[datetime], Lease]) -> None:
    """Announce an executor; forget the one that it goes on for, and those that died long ago and own nothing."""
    now = session.now()
    if before is not None:
        session.close_lease(before)
    for lease in session.leases():
        if lease.lease_until < now - _REMEMBERED and not session.held(lease.executor):
            session.close_lease(lease.executor)
    session.open_lease(lease_from(now))


def deliver(session: Session, deliveries: Sequence[Delivery], *, now: datetime) -> list[TaskRecord | None]:
    """Write each delivery that still owns its task, in order; None answers those that do not."""
    transitions = [_decide(each.record, each, now) for each in deliveries]
    answers = session.write(transitions) if transitions else []
    return [
        decided.after if written else _written_before(session, each) or _look_again(session, each, now)
        for each, decided, written in zip(deliveries, transitions, answers, strict=True)
    ]


def deliver_with_effects(session: Session, delivery: Delivery) -> TaskRecord:
    """Write one delivery and run its effects, all or nothing; raises `EffectRaised`, or `ClaimLost`."""
    before = _written_before(session, delivery)
    if before is not None:
        return before  # and its effects happened with it
    after = deliver(session, [delivery], now=session.now())[0]
    if after is None:
        raise ClaimLost(f"the task {delivery.record.id} belongs to another run")
    try:
        for statement in delivery.effects:
            for parameters in statement.each():
                session.transaction.execute(statement.sql, parameters)
    except Exception as error:
        raise EffectRaised(error) from error
    return after


def release_all(session: Session, executor: str) -> int:
    """Give back whatever the executor still owns, as interrupted, and forget the executor; returns how many."""
    now = session.now()
    owned = session.get([held.id for held in session.held(executor)])
    released = deliver(session, [Delivery(record, events.Interrupted(), Policy()) for record in owned], now=now)
    session.close_lease(executor)
    return sum(record is not None for record in released)


def _decide(record: TaskRecord, delivery: Delivery, now: datetime) -> Transition:
    decision = transition(record, delivery.event, now=now, policy=delivery.policy)
    if isinstance(decision, Transition):
        return decision
    raise ClaimLost(f"the task {record.id} is {record.state.value} and cannot take {delivery.event!r}")


def _written_before(session: Session, delivery: Delivery) -> TaskRecord | None:
    """The record, if this very delivery is durable already and only the reply to its write was lost."""
    fresh = _owned(session, delivery.record)
    if fresh is None:
        return None
    if isinstance(delivery.event, events.Committed):
        return fresh if fresh.sequence > delivery.record.sequence else None
    return fresh if fresh.state is not TaskState.RUNNING else None


def _look_again(session: Session, delivery: Delivery, now: datetime) -> TaskRecord | None:
    """A refused write that is not written yet: ours and changed beside us, or not ours any more."""
    fresh = _owned(session, delivery.record)
    if fresh is None or fresh.state is not TaskState.RUNNING:
        return None
    decided = _decide(fresh, delivery, now)
    return decided.after if session.write([decided]) == [True] else None


def _owned(session: Session, known: TaskRecord) -> TaskRecord | None:
    """The task as it is now, if no claim but this run's came since."""
    found = session.get([known.id])
    return found[0] if found and (found[0].fence, found[0].token) == (known.fence, known.token) else None


@final
@frozen
class _Found:
    """What a turn has claimed or ended at once, the queues that it knows of, and whether it searched for others."""

    claimed: Sequence[TaskRecord] = ()
    ended: Sequence[Transition] = ()
    queues: Sequence[str] = ()
    searched: bool = False


def _claim(session: Session, plan: TurnPlan, demand: Demand, now: datetime) -> _Found:
    """Take what is demanded; what must not run any more is ended at once."""
    claimed: list[TaskRecord] = []
    ended: list[Transition] = []
    may_be_suspect = plan.may_be_suspect

    def claim_from(queues: Sequence[str]) -> None:
        nonlocal may_be_suspect
        # Each turn begins at another queue, so that with few free slots none of them is always last.
        start = demand.rotation % len(queues) if queues else 0
        for queue in (*queues[start:], *queues[:start]):
            limit = demand.limit - len(claimed)
            limit = limit if demand.queues is None else min(limit, demand.queues[queue])
            if limit > 0:
                for record in session.claim(ClaimOrder(plan.executor, queue, plan.names, limit), now=now):
                    policy = plan.policies[record.name]
                    event = admission(record, now=now, policy=policy, may_be_suspect=may_be_suspect)
                    if event is None:
                        claimed.append(record)
                        may_be_suspect = may_be_suspect and not is_suspect(record)
                    else:
                        ended.append(_decide(record, Delivery(record, event, policy), now))

    known = demand.known if demand.queues is None else tuple(demand.queues)
    claim_from(known)
    searched = demand.queues is None and len(claimed) < demand.limit and (demand.searches or not claimed)
    if searched:
        found = session.queues(plan.names)
        claim_from([queue for queue in found if queue not in known])
        known = found
    if ended:
        session.write(ended)
    return _Found(claimed, ended, known, searched)


def _reconcile(session: Session, plan: TurnPlan, now: datetime) -> list[Held]:
    """Compare what the store says we own with what we know of: a claim whose reply was lost is given back."""
    held = session.held(plan.executor)
    unknown = [each.id for each in held if each.id not in (plan.reconcile or ())]
    if unknown:
        stray = [record for record in session.get(unknown) if record.executor == plan.executor]
        deliver(session, [Delivery(record, events.Interrupted(), Policy()) for record in stray], now=now)
    return held
