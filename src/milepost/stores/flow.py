"""The one place through which tasks end: a write, and all that follows from it in the same transaction.

Whoever ends a task, or opens it again, writes by `write`, whoever stores what a run has answered by `carry`. What
follows of ends: they are kept for those who wait for them, who go on with the last one, or end themselves, so that
something follows of that; the others are cancelled where one failure is enough; a task with an `on_outcome` leaves a
companion; a schedule looks again. Tasks that are tied to nobody pay a test of truth each.

**Locks.** Of two transactions that end children of one parent, or one its child and the other the parent itself, one
waits for the other before it locks any row (`lock_families`): for both may then lock the parent, and each the other's
child, to cancel it. So whoever ends tasks, or opens them again, locks keys first, then families and events, then rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Final, final

from attrs import frozen
from returns.result import Success

from milepost.errors import FollowUpRefused, StoreError
from milepost.lifecycle import events
from milepost.lifecycle.change import Decision, Transition
from milepost.lifecycle.children import ChildCount
from milepost.lifecycle.draft import Draft
from milepost.lifecycle.hooks import companion
from milepost.lifecycle.joining import waiting
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.states import LIVE_STATES, TaskState
from milepost.lifecycle.ties import Tie
from milepost.lifecycle.transition import transition
from milepost.stores.enqueueing import EnqueuePlan, Found, Step, look_up, plan_enqueue, unique
from milepost.stores.events import awaited_by, take_early
from milepost.stores.filter import TaskFilter
from milepost.stores.protocol import Session
from milepost.stores.trees import locked_tree, without_companions

_LIVE: Final = tuple(sorted(LIVE_STATES, key=lambda state: state.value))


@final
@frozen
class Carried:
    """What a run's answer makes of its task, and what the answer enqueues: drafts, of a group each before its head.

    A draft without a parent gets the task as its parent, and its place among them; one without a correlation that of
    the task. Whose `transition` begins a wait for children waits for those whose parent is the task.
    """

    transition: Transition
    follow_ups: tuple[Draft, ...] = ()


def write(session: Session, transitions: Sequence[Transition], *, now: datetime) -> list[bool]:
    """`session.write`, and what follows of those that were written."""
    tied = [decided for decided in transitions if _is_tied(decided)]
    if not tied:
        return session.write(transitions)
    _lock(session, tied)
    answers = session.write(transitions)
    written = [decided for decided, done in zip(transitions, answers, strict=True) if done]
    take_early(session, written, now=now)
    _follow(session, written, now)
    return answers


def carry(session: Session, carried: Sequence[Carried], *, now: datetime) -> list[bool]:
    """`write`, and insert what each answer enqueues where its transition was written.

    Follow-ups are let in whatever the capacity of their queue. Raises `FollowUpRefused`, before anything is written.
    """
    transitions = [each.transition for each in carried]
    if not any(each.follow_ups for each in carried):
        return write(session, transitions, now=now)
    carried = [_inherited(each) for each in carried]
    drafts = [draft for each in carried for draft in each.follow_ups]
    found = look_up(session, drafts, then_lock=lambda: _lock(session, transitions))
    _plans(carried, found, now)  # so that nothing is written of what is refused
    answers = session.write(transitions)
    stored = [each for each, done in zip(carried, answers, strict=True) if done]
    plans = _plans(stored, found, now)
    joins = {
        each.transition.after.id: children
        for each, plan in zip(stored, plans, strict=True)
        if (children := _children(each, plan)) is not None
    }
    steps = [step for plan in plans for step in plan.steps]
    apply(session, steps, now=now, awaited={id for children in joins.values() for id in children})
    _begin(session, joins, now, fresh={step.id for step in steps if isinstance(step, Draft)})
    for each, plan in zip(stored, plans, strict=True):
        _cancel_stillborn(session, each.transition.after, plan, now)
    written = [each.transition for each in stored]
    take_early(session, written, now=now)
    _follow(session, written, now, asked=joins)
    return answers


def apply(session: Session, steps: Iterable[Step], *, now: datetime, awaited: Collection[TaskId] = ()) -> None:
    """Carry out what an enqueue has planned, in order; somebody waits for those of `awaited`."""
    drafts: list[Draft] = []
    for step in steps:
        if isinstance(step, Draft):
            drafts.append(step)
            continue
        # A key must be given up before its new holder comes in, and the old holder may be among those to insert.
        insert(session, drafts, now=now, awaited=awaited)
        drafts = []
        write(session, [step], now=now)
    insert(session, drafts, now=now, awaited=awaited)


def insert(session: Session, drafts: Sequence[Draft], *, now: datetime, awaited: Collection[TaskId] = ()) -> None:
    """Insert new tasks. What waits for others begins to, and goes on at once if there are none."""
    heads = {draft.id: draft.waits_for for draft in drafts if draft.waits_for is not None}
    if not heads and not awaited:
        # One by one as the store takes them: records are large, and thousands at once would only wait in memory.
        session.insert(draft.record(now) for draft in drafts)
        return
    expected = {*awaited, *chain.from_iterable(heads.values())}
    session.insert(_expected(draft.record(now), expected) for draft in drafts)
    _begin(session, heads, now, fresh={draft.id for draft in drafts})
    _follow(session, (), now, asked=heads)


def _is_tied(decided: Transition) -> bool:
    after = decided.after
    tied = after.ties is not Tie.NONE or after.schedule is not None or after.join is not None
    return tied or after.awaited_event is not None


def _ends(decided: Transition) -> bool:
    return decided.after.state.is_final and not decided.before.state.is_final


def lock_families(session: Session, records: Iterable[TaskRecord], *, parents: Iterable[TaskId] = ()) -> None:
    """Let nobody else end what belongs to the families of these meanwhile, nor children of `parents`, or open it again:
    to be asked for before any row is locked, of what was read without a lock."""
    keys = {key for record in records for key in _family(record)}.union(("", parent) for parent in parents)
    if keys:
        session.events.lock(keys)


def _lock(session: Session, transitions: Sequence[Transition]) -> None:
    """`lock_families` of those that end or are opened again, and what tasks begin to wait for, all at once."""
    families = {key for each in transitions if _ends(each) or _opens(each) for key in _family(each.before)}
    keys = families.union(awaited_by(transitions))
    if keys:
        session.events.lock(keys)


def _family(record: TaskRecord) -> Iterator[tuple[str, str]]:
    """The task that waits for it, and itself if it has waited for others. No event has a name that is empty."""
    if record.parent is not None and Tie.AWAITED in record.ties:
        yield "", record.parent
    if record.join is not None:
        yield "", record.id


def _inherited(each: Carried) -> Carried:
    """The same, with what follow-ups have of their parent; those of an end are at the place of the next commit."""
    before = each.transition.before
    place = f"{before.epoch}.{before.sequence + 1}"
    drafts: list[Draft] = []
    own = 0
    for draft in each.follow_ups:
        if draft.parent is None:
            draft = draft._replace(parent=before.id, parent_position=f"{place}.{own}")
            own += 1
        drafts.append(draft if draft.correlation is not None else draft._replace(correlation=before.correlation))
    return Carried(each.transition, tuple(drafts))


def _plans(carried: Sequence[Carried], found: Found, now: datetime) -> list[EnqueuePlan]:
    """What each answer's follow-ups become, one answer after the other, once all transitions are written."""
    afters = {each.transition.after.id: each.transition.after for each in carried}
    holders = {key: afters.get(holder.id, holder) for key, holder in found.holders.items()}
    holders = {key: holder for key, holder in holders.items() if not holder.state.is_final}
    known = {id: afters.get(id, record) for id, record in found.known.items()}
    plans: list[EnqueuePlan] = []
    for each in carried:
        planned = plan_enqueue(each.follow_ups, Found(holders, known), now=now)
        if not isinstance(planned, Success):
            raise FollowUpRefused(each.transition.after.id, _told(each, str(planned.failure().reason)))
        plan = planned.unwrap()
        if each.transition.after.id in (_children(each, plan) or ()):
            raise FollowUpRefused(
                each.transition.after.id, _told(each, "it would wait for itself, which holds the key")
            )
        inserted = [step for step in plan.steps if isinstance(step, Draft)]
        holders |= {(draft.name, draft.key): draft.record(now) for draft in inserted if draft.key is not None}
        known |= {draft.id: draft.record(now) for draft in inserted if draft.replays}
        plans.append(plan)
    return plans


def _told(each: Carried, reason: str) -> str:
    return f"a follow-up of the task {each.transition.after.id} cannot be enqueued: {reason}"


def _children(each: Carried, plan: EnqueuePlan) -> tuple[TaskId, ...] | None:
    """Whom the task waits for from now on, if it does; a group is one, its head."""
    after = each.transition.after
    if not after.waits_for_children:
        return None
    return unique(a.id for draft, a in zip(each.follow_ups, plan.answers, strict=True) if draft.parent == after.id)


def _expected(record: TaskRecord, expected: Collection[TaskId]) -> TaskRecord:
    return record.changed({"ties": record.ties | Tie.AWAITED}) if record.id in expected else record


def _begin(
    session: Session, joins: Mapping[TaskId, Sequence[TaskId]], now: datetime, *, fresh: Collection[TaskId]
) -> None:
    """Each of `joins` waits for its children from now on, of whom the `fresh` ones know already."""
    joined = {id for children in joins.values() for id in children if id not in fresh}
    if joined:
        _tell_of_waiting(session, sorted(joined), now)
    for id, children in joins.items():
        session.joins.put(id, children)


def _tell_of_waiting(session: Session, ids: Sequence[TaskId], now: datetime) -> None:
    """Who ends one of these from now on sees that somebody waits for it; who has ended is seen by the one who waits."""
    changes = [transition(record, events.Awaited(), now=now) for record in session.get(ids)]
    _write_locked(session, changes)


def _cancel_stillborn(session: Session, parent: TaskRecord, plan: EnqueuePlan, now: datetime) -> None:
    """End what a task has enqueued whose tree was cancelled while it ran."""
    if Tie.TREE_CANCELLED not in parent.ties:
        return
    event = events.CancelRequested(parent.cancel_reason or "", tree=True)
    created = session.get([answer.id for answer in plan.answers if answer.created])
    write(session, _changing(transition(record, event, now=now) for record in created), now=now)


def _follow(session: Session, written: Sequence[Transition], now: datetime, *, asked: Collection[TaskId] = ()) -> None:
    """All that follows of what was `written`, and of that, until nothing more does; the `asked` have just begun to
    wait, perhaps for nobody."""
    while written or asked:
        told = _tell(session, written, now)
        written = _go_on(session, told, {*asked, *_waiting_again(written)}, now)
        asked = ()


def _waiting_again(written: Iterable[Transition]) -> Iterator[TaskId]:
    """Who was opened anew and waits for its children again."""
    return (each.after.id for each in written if each.after.waits_for_children and _opens(each))


def _opens(decided: Transition) -> bool:
    return decided.before.epoch != decided.after.epoch


def _tell(session: Session, written: Sequence[Transition], now: datetime) -> dict[TaskId, bool]:
    """Tell of ends, and of tasks that are opened again; gives who waits for what has ended, and whether one of those
    had no success."""
    opened = [each.after.id for each in written if Tie.AWAITED in each.after.ties and _opens(each)]
    if opened:
        session.joins.reopen(opened)
    ended = [each.after for each in written if _ends(each)]
    awaited = [record for record in ended if Tie.AWAITED in record.ties]
    told: dict[TaskId, bool] = {}
    for failed in (False, True):
        group = [record for record in awaited if (record.state is not TaskState.COMPLETED) is failed]
        if group:
            told |= dict.fromkeys(session.joins.end(group), failed)
    _leave_companions(session, [record for record in ended if Tie.HOOKED in record.ties], now)
    schedules = sorted({record.schedule for record in ended if record.schedule is not None})
    if schedules:
        session.schedules.wake(schedules, now=now)
    return told


def _leave_companions(session: Session, ended: Sequence[TaskRecord], now: datetime) -> None:
    """Insert the companions of tasks with an `on_outcome`; each waits for whom its task has waited for, and takes them
    from it where it makes something of them: who is opened again must not go on with what was undone."""
    companions: list[TaskRecord] = []
    for record in ended:
        heir = companion(record, now)
        if heir.join is not None and session.joins.hand_over(record.id, heir.id):
            heir = waiting(heir, heir.join)
        if heir.join is not None and Tie.HANDS_OVER in record.ties:
            session.joins.put(record.id, ())
        companions.append(heir)
    if companions:
        session.insert(companions)


def _go_on(session: Session, told: Mapping[TaskId, bool], asked: Collection[TaskId], now: datetime) -> list[Transition]:
    """Let those go on whose last child has ended; cancel the other children where one failure is enough."""
    parents = sorted({*told, *asked})
    records = [record for record in session.get(parents) if record.waits_for_children] if parents else []
    if not records:
        return []
    unfinished = session.joins.unfinished([record.id for record in records])
    counted = [record.id for record in records if record.id not in unfinished or record.id in asked]
    counts = session.joins.counts(counted) if counted else {}
    ready: list[Decision] = []
    failing: list[TaskRecord] = []
    for record in records:
        count = counts.get(record.id, ChildCount())
        if record.id not in unfinished:
            ready.append(transition(record, events.ChildrenEnded(count), now=now))
        elif told.get(record.id) or count.failed + count.cancelled:
            failing.append(record)
    return [*_write_locked(session, ready), *(each for record in failing for each in _fail_fast(session, record, now))]


def _fail_fast(session: Session, parent: TaskRecord, now: datetime) -> list[Transition]:
    """Cancel the unfinished children that the parent has enqueued itself, with all that descends from them, unless that
    was done before; one that it has only joined is not its own to cancel."""
    # Read anew: another one that fails at the same time may have cancelled this one, as a descendant of its own.
    anew = session.get([parent.id])
    if not _write_locked(session, [transition(record, events.ChildFailed(), now=now) for record in anew]):
        return []
    unfinished = set(session.joins.unfinished_of(parent.id))
    live = session.ids(TaskFilter(parents=(parent.id,), states=_LIVE))
    own = [id for id in live if id in unfinished]
    event = events.CancelRequested(f"another child of {parent.id} ended without a success", tree=True)
    doomed = without_companions(locked_tree(session, own), own)
    return _write_locked(session, [transition(record, event, now=now) for record in doomed])


def _write_locked(session: Session, decisions: Iterable[Decision]) -> list[Transition]:
    """Write what changes anything, of tasks that were read, and locked, in this transaction; gives that."""
    changes = _changing(decisions)
    if changes and not all(session.write(changes)):
        raise StoreError("a task has changed in a transaction that had read, and so locked it; nothing was written")
    return changes


def _changing(decisions: Iterable[Decision]) -> list[Transition]:
    return [each for each in decisions if isinstance(each, Transition) and each.after is not each.before]
