"""The turn: one transaction hands back what runs have done since the last one, and takes new work for free slots.

Runs on the store's own thread, so it gets and gives plain values and touches no state of the executor. Decisions are
`transition`'s; a write that the store refuses is looked at once more (somebody may have asked for a cancel meanwhile)
before the claim is given up as lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from datetime import datetime, timedelta
from typing import final

from attrs import field, frozen

from milepost.clock import EPOCH
from milepost.effects import Statement
from milepost.errors import ClaimLost
from milepost.executor.claiming import Catch, Demand, claim_work
from milepost.executor.limiting import Admitted, admit
from milepost.lifecycle import events
from milepost.lifecycle.change import Transition
from milepost.lifecycle.children import Child
from milepost.lifecycle.draft import Draft
from milepost.lifecycle.events import Event
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.states import LimitKind, TaskState
from milepost.lifecycle.transition import Policy, admission, is_suspect, transition
from milepost.stores import flow
from milepost.stores.protocol import Held, Lease, Report, Session
from milepost.stores.tables import LogLine


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
    follow_ups: tuple[Draft, ...] = ()

    def carries_out(self, after: TaskRecord) -> bool:
        """Whether what the result carries happens, where it makes `after` of the task: not for a failure that is tried
        again, nor for a suspension that a cancel has ended."""
        match self.event:
            case events.Failed():
                return after.state is TaskState.FAILED
            case events.Suspended():
                return after.state is not TaskState.CANCELLED
            case _:
                return True

    def frees_slot_of(self, queues: Set[str]) -> bool:
        """Whether it ends a run in one of `queues`."""
        return self.record.queue in queues and not isinstance(self.event, events.Committed)


@final
@frozen(kw_only=True)
class TurnPlan:
    """All that one turn is to do. It renews if told so, or if the store's clock has come to `renew_from`.

    `has_limits` says that some of the policies have any. `may_be_suspect` says that no suspect runs yet, so that one
    more may be taken (`lifecycle.transition.is_suspect`).
    """

    executor: str
    names: Mapping[str, int]
    policies: Mapping[str, Policy]
    has_limits: bool = True
    deliveries: Sequence[Delivery] = ()
    reports: Sequence[Report] = ()
    logs: Sequence[LogLine] = ()
    demand: Demand | None = None
    may_be_suspect: bool = True
    lease_seconds: float
    running: int = 0
    renew: bool = False
    renew_from: datetime = EPOCH
    reconcile: frozenset[TaskId] | None = None
    look_for_cancels: bool = True
    limited_queues: Set[str] = frozenset()


@final
@frozen(kw_only=True)
class TurnReceipt:
    """What became durable. `written` answers each delivery: the record as it is now, or None for a lost claim.

    `children` are those of claimed tasks that have waited for some. `limited` says how many tasks of each name were put
    back, by which of their limits.
    """

    written: Sequence[TaskRecord | None]
    claimed: Sequence[TaskRecord] = ()
    children: Mapping[TaskId, Sequence[Child]] = field(factory=dict[TaskId, Sequence[Child]])
    ended: Sequence[Transition] = ()
    limited: Mapping[tuple[str, LimitKind], int] = field(factory=dict[tuple[str, LimitKind], int])
    cancel_requests: Sequence[Held] = ()
    held: Sequence[Held] | None = None
    catch: Catch | None = None
    renewed: bool = False
    lease_alive: bool = True
    now: datetime


def take_turn(session: Session, plan: TurnPlan) -> TurnReceipt:
    """Carry out `plan` in the session's transaction."""
    now = session.now()
    written = deliver(session, plan.deliveries, now=now)
    if any(each.frees_slot_of(plan.limited_queues) for each in plan.deliveries):
        session.settings.tell_free()
    if plan.reports:
        session.report(plan.reports)
    if plan.logs:
        session.logs.append(plan.logs)
    # Renew before claiming: an executor that is late would otherwise count as dead and steal from itself. After a sleep
    # of the machine the store's clock alone knows that it is late. Renew after writing: an effect's transaction locks
    # its task before the lease as well, and two that locked them crosswise would wait for each other.
    renewing = plan.renew or now >= plan.renew_from
    alive = not renewing or renew(session, plan.executor, plan.lease_seconds, now=now, running=plan.running)
    if not alive:
        admit(session, (), written, plan.policies, now=now)
        return TurnReceipt(written=written, lease_alive=False, now=now)
    held, strays = (None, ()) if plan.reconcile is None else _reconcile(session, plan, now)
    catch = None if plan.demand is None else claim_work(session, plan.executor, plan.names, plan.demand, now)
    alive_ones, ended = _admit(session, plan, () if catch is None else catch.claimed, now)
    if plan.has_limits:
        handed_in = (*written, *strays, *(decided.after for decided in ended))
        admitted = admit(session, alive_ones, handed_in, plan.policies, now=now)
    else:
        admitted = Admitted(alive_ones)
    joined = [record.id for record in admitted.start if record.join is not None]
    return TurnReceipt(
        written=written,
        claimed=admitted.start,
        children=session.joins.children(joined) if joined else {},
        ended=[*ended, *admitted.ended],
        limited=admitted.waiting,
        cancel_requests=session.cancel_requests(plan.executor) if plan.look_for_cancels else (),
        held=held,
        catch=catch,
        renewed=renewing,
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
    answers = _write(session, deliveries, transitions, now) if transitions else []
    return [
        decided.after if written else _written_before(session, each) or _look_again(session, each, now)
        for each, decided, written in zip(deliveries, transitions, answers, strict=True)
    ]


def deliver_with_effects(session: Session, delivery: Delivery, lines: Sequence[LogLine]) -> TaskRecord:
    """Write one delivery, run its effects and store what its run has logged, all or nothing.

    Raises `EffectRaised`, `FollowUpRefused` or `ClaimLost`.
    """
    before = _written_before(session, delivery)
    if before is not None:
        return before  # and its effects happened with it
    after = deliver(session, [delivery], now=session.now())[0]
    if after is None:
        raise ClaimLost(f"the task {delivery.record.id} belongs to another run")
    if lines:
        session.logs.append(lines)
    if not delivery.carries_out(after):
        return after
    try:
        for statement in delivery.effects:
            for parameters in statement.each():
                session.transaction.execute(statement.sql, parameters)
    except Exception as error:
        raise EffectRaised(error) from error
    return after


def deliver_alone(
    session: Session,
    delivery: Delivery,
    lines: Sequence[LogLine],
    *,
    limited_queues: Set[str],
    renew: Callable[[Session], object],
) -> TaskRecord:
    """`deliver_with_effects` as a turn of its own, with what follows from the end of a run."""
    after = deliver_with_effects(session, delivery, lines)
    if delivery.frees_slot_of(limited_queues):
        session.settings.tell_free()
    renew(session)
    # Last, so that no effect keeps others from a limit, and after the lease, as every turn locks them.
    admit(session, (), [after], {after.name: delivery.policy}, now=session.now())
    return after


def release_all(session: Session, executor: str, policies: Mapping[str, Policy], lines: Sequence[LogLine] = ()) -> int:
    """Give back whatever the executor still owns, as interrupted, and forget the executor; returns how many.

    `lines` are what its runs have logged and no turn has carried.
    """
    now = session.now()
    if lines:
        session.logs.append(lines)
    owned = session.get([held.id for held in session.held(executor)])
    released = deliver(session, [Delivery(record, events.Interrupted(), Policy()) for record in owned], now=now)
    session.close_lease(executor)
    admit(session, (), released, policies, now=now)
    return sum(record is not None for record in released)


def _decide(record: TaskRecord, delivery: Delivery, now: datetime) -> Transition:
    decision = transition(record, delivery.event, now=now, policy=delivery.policy)
    if isinstance(decision, Transition):
        return decision
    raise ClaimLost(f"the task {record.id} is {record.state.value} and cannot take {delivery.event!r}")


def _write(
    session: Session, deliveries: Sequence[Delivery], transitions: Sequence[Transition], now: datetime
) -> list[bool]:
    if not any(each.follow_ups for each in deliveries):
        return flow.write(session, transitions, now=now)
    carried = [
        flow.Carried(decided, each.follow_ups if each.carries_out(decided.after) else ())
        for each, decided in zip(deliveries, transitions, strict=True)
    ]
    return flow.carry(session, carried, now=now)


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
    return decided.after if _write(session, [delivery], [decided], now) == [True] else None


def _owned(session: Session, known: TaskRecord) -> TaskRecord | None:
    """The task as it is now, if no claim but this run's came since."""
    found = session.get([known.id])
    return found[0] if found and (found[0].fence, found[0].token) == (known.fence, known.token) else None


def _admit(
    session: Session, plan: TurnPlan, claimed: Sequence[TaskRecord], now: datetime
) -> tuple[Sequence[TaskRecord], Sequence[Transition]]:
    """Those of the claimed tasks that may run, and what was made of those that must not run any more."""
    admitted: list[TaskRecord] = []
    ended: list[Transition] = []
    may_be_suspect = plan.may_be_suspect
    for record in claimed:
        policy = plan.policies[record.name]
        event = admission(record, now=now, policy=policy, may_be_suspect=may_be_suspect)
        if event is None:
            admitted.append(record)
            may_be_suspect = may_be_suspect and not is_suspect(record)
        else:
            ended.append(_decide(record, Delivery(record, event, policy), now))
    if ended:
        flow.write(session, ended, now=now)
    return admitted, ended


def _reconcile(session: Session, plan: TurnPlan, now: datetime) -> tuple[list[Held], list[TaskRecord | None]]:
    """Compare what the store says we own with what we know of: a claim whose reply was lost is given back.

    Gives what the store says, and what was given back.
    """
    held = session.held(plan.executor)
    unknown = [each.id for each in held if each.id not in (plan.reconcile or ())]
    if not unknown:
        return held, []
    strays = [record for record in session.get(unknown) if record.executor == plan.executor]
    return held, deliver(session, [Delivery(record, events.Interrupted(), Policy()) for record in strays], now=now)
