"""Why a task does not run now: record x what the store knows around it x now -> its gates, in order.

Pure. The order is from the task outward: what it is, whether it would end instead of run, when it is due, its limits,
its queue, the executors. No gate means: a claim by a live executor with a free slot takes the task and runs it. Other
waiting tasks are not looked at: of several that wait for the same slot or share, each is as runnable as the others.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import assert_never, final

from attrs import field, frozen

from milepost.lifecycle import events, gates
from milepost.lifecycle.change import Transition, by_deadline
from milepost.lifecycle.children import ChildCount
from milepost.lifecycle.gates import Gate, Load, Sharer
from milepost.lifecycle.joining import GROUP_NAME
from milepost.lifecycle.limiting import decide, lacks_key, rate_key, share_key
from milepost.lifecycle.queues import QueueSettings
from milepost.lifecycle.rates import RateUse
from milepost.lifecycle.record import HistoryEvent, HistoryKind, TaskId, TaskRecord
from milepost.lifecycle.shares import Shares
from milepost.lifecycle.states import LimitKind, TaskState
from milepost.lifecycle.terms import Terms
from milepost.lifecycle.transition import Policy, admission, transition

_PATIENT = Policy(stalls_max=sys.maxsize)
"""How often a task may be claimed without progress is each executor's own setting."""


@final
@frozen(kw_only=True)
class LiveExecutor:
    """An executor whose lease holds: what it told with it, and how many tasks it runs, in all and of one queue."""

    id: str
    tasks: Mapping[str, int]
    queues: Sequence[str] | None
    slots: int
    running: int
    queue_running: int
    terms: Terms = field(factory=Terms)


@final
@frozen(kw_only=True)
class Facts:
    """What the store knows around one task, all of one moment.

    `live` are the executors whose lease holds, `owner_until` is when the lease of the task's own executor ends (None:
    there is none), `last` is the last line of its history. `queue_running` tasks of its queue run in the whole fleet,
    and `sharing` tasks with its concurrency key, of which `sharers` are a few; `parked` is the first that waits for
    such a share, and `rate` what is used of its rate. `children` are those that it waits for, `awaited` the first few
    that have not ended.
    """

    live: Sequence[LiveExecutor] = ()
    owner_until: datetime | None = None
    last: HistoryEvent | None = None
    queue: QueueSettings | None = None
    queue_running: int = 0
    rate: RateUse = field(factory=RateUse)
    sharing: int = 0
    sharers: tuple[Sharer, ...] = ()
    parked: tuple[TaskRecord, ...] = ()
    children: ChildCount = field(factory=ChildCount)
    awaited: tuple[TaskId, ...] = ()


def gates_of(record: TaskRecord, facts: Facts, now: datetime) -> tuple[Gate, ...]:
    """Every gate that a claim of this task would not pass now; none when a free slot is all that it needs."""
    if record.state.is_final:
        return (gates.Ended(record.state, record.finished_at),)
    if record.state is TaskState.QUARANTINED:
        since = _last_at(facts, HistoryKind.QUARANTINED)
        return (gates.Quarantined(since, record.crash.message if record.crash is not None else ""),)
    if record.executor is not None and facts.owner_until is not None and facts.owner_until >= now:
        return (gates.ClaimedBy(record.executor, facts.owner_until), *_cancel(record))
    if record.name == GROUP_NAME:  # no executor takes it; its members end it
        return tuple(_time(record, facts, now))
    found = (
        *_end(record, now),
        *_time(record, facts, now),
        *_limits(record, facts, now),
        *_queue(record, facts),
        *_executors(record, facts),
    )
    if found and record.executor is not None:
        return (gates.OwnerLost(record.executor, facts.owner_until), *found)
    return found


def _end(record: TaskRecord, now: datetime) -> Iterator[Gate]:
    """What any executor would end the task by, if it claimed it, instead of running it."""
    claimed = _claimed(record, now)
    match None if claimed is None else admission(claimed, now=now, policy=_PATIENT):
        case events.CancelObeyed():
            yield from _cancel(record)
        case events.DeadlineMissed():
            yield gates.DeadlinePassed(record.deadline_at or now)
        case events.StartMissed():
            yield gates.StartDeadlinePassed(record.start_by or now)
        case _:
            pass


def _claimed(record: TaskRecord, now: datetime) -> TaskRecord | None:
    """What a claim would make of the task, were it due."""
    decision = transition(record.changed({"due_at": now}), events.Claimed("", ""), now=now)
    return decision.after if isinstance(decision, Transition) else None


def _cancel(record: TaskRecord) -> Iterator[Gate]:
    if record.cancel_requested_at is not None:
        yield gates.CancelPending(record.cancel_requested_at, record.cancel_reason or "")


def _time(record: TaskRecord, facts: Facts, now: datetime) -> Iterator[Gate]:
    due_at, last = record.due_at, facts.last
    if record.state is TaskState.RUNNING or (due_at is not None and due_at <= now):
        return
    if record.state is TaskState.SUSPENDED and due_at is not None and due_at == by_deadline(record, None):
        due_at = None  # it goes on no more then, it ends
    if record.waits_for_children:
        yield gates.ChildrenAwaited(facts.children, facts.awaited)
    elif record.waits_for_event:
        yield gates.EventAwaited(record.awaited_event or "", record.awaited_key or "", due_at)
    elif due_at is None or record.state is TaskState.SUSPENDED:
        yield gates.SuspendedUntil(due_at)
    elif record.limited_by is not None:
        yield _limit(record, record.limited_by, facts)
    elif record.state is TaskState.RETRYING:
        kept = last is not None and last.kind is HistoryKind.RETRY_SCHEDULED
        crash = record.crash
        yield gates.BackingOff(due_at, last.reason if last is not None and kept else crash.type_name if crash else "")
    elif last is not None and last.kind is HistoryKind.RELEASED and record.stalls > 0:
        yield gates.BackingOff(due_at, last.reason)
    else:
        yield gates.NotDue(due_at)


def _limit(record: TaskRecord, kind: LimitKind, facts: Facts) -> Gate:
    """The limit that the task waits for since it was put back."""
    match kind:
        case LimitKind.RATE:
            return gates.RateReached(record.rate_key or "", record.slot_at)
        case LimitKind.CONCURRENCY:
            limits = [each.terms.concurrency.get(record.name) for each in facts.live]
            return _shares_taken(record, facts, max((each.limit for each in limits if each is not None), default=None))
        case _:
            assert_never(kind)


def _limits(record: TaskRecord, facts: Facts, now: datetime) -> Iterator[Gate]:
    """What an executor would find of limits, if it claimed the task; of several, one that lets it start counts."""
    if record.due_at is not None and record.due_at > now:
        return  # what it waits for then is decided anew
    able = _able(record, facts)
    free = _free(record, able)
    willing = [each for each in free if not _would_quarantine(each, record)]
    refusals = [_refusal(record, facts, each.terms, now) for each in willing or free or able]
    if refusals and None not in refusals:
        yield from [refusal for refusal in refusals if refusal is not None][:1]


def _refusal(record: TaskRecord, facts: Facts, terms: Terms, now: datetime) -> Gate | None:
    policy = Policy(rate_limit=terms.rates.get(record.name), concurrency_limit=terms.concurrency.get(record.name))
    claimed = _claimed(record, now)
    if claimed is None or not policy.has_limits or lacks_key(record, policy):
        return None
    limit = policy.concurrency_limit
    # Whoever is taken over has its share already.
    others = facts.sharing - (record.state is TaskState.RUNNING)
    shares = Shares(max(0, limit.limit - others) if limit is not None else 0, 0, facts.parked)
    verdict = decide(
        [claimed],
        {record.name: policy},
        rates={rate_key(record): facts.rate},
        shares={} if limit is None else {share_key(record): shares},
        now=now,
    )
    for _, event in verdict.turned_away:
        if isinstance(event, events.Limited | events.OverLimit):
            ends = isinstance(event, events.OverLimit)
            if event.kind is LimitKind.CONCURRENCY:
                return _shares_taken(record, facts, None if limit is None else limit.limit, ends=ends)
            start = event.slot_at if isinstance(event, events.Limited) else None
            return gates.RateReached(record.rate_key or "", start, ends=ends)
    return None


def _shares_taken(record: TaskRecord, facts: Facts, limit: int | None, *, ends: bool = False) -> Gate:
    return gates.ConcurrencyReached(record.concurrency_key or "", facts.sharing, limit, facts.sharers, ends)


def _queue(record: TaskRecord, facts: Facts) -> Iterator[Gate]:
    queue = facts.queue
    if queue is None:
        return
    if queue.paused_at is not None:
        yield gates.QueuePaused(queue.name, queue.paused_at, queue.paused_reason)
    # Who is taken over runs already, as far as its queue is concerned.
    busy = queue.concurrency is not None and facts.queue_running >= queue.concurrency
    if queue.concurrency is not None and busy and record.state is not TaskState.RUNNING:
        yield gates.QueueBusy(queue.name, facts.queue_running, queue.concurrency)


def _executors(record: TaskRecord, facts: Facts) -> Iterator[Gate]:
    """The first condition that no executor meets of those that meet the ones before it."""
    name, queue = record.name, record.queue
    registering = _registering(record, facts)
    knowing = _knowing(record, facts)
    able = _able(record, facts)
    free = _free(record, able)
    if not registering:
        yield gates.NameUnregistered(name, len(facts.live))
    elif not knowing:
        yield gates.VersionTooNew(name, record.version, max(each.tasks[name] for each in registering))
    elif not able:
        yield gates.QueueUnserved(queue, name)
    elif not free:
        yield gates.ExecutorsFull(tuple(load for each in able if (load := _load(each, queue)) is not None))
    elif all(_would_quarantine(each, record) for each in free):
        yield gates.StallsUsedUp(record.stalls)


def _registering(record: TaskRecord, facts: Facts) -> list[LiveExecutor]:
    return [each for each in facts.live if record.name in each.tasks]


def _knowing(record: TaskRecord, facts: Facts) -> list[LiveExecutor]:
    return [each for each in _registering(record, facts) if each.tasks[record.name] >= record.version]


def _able(record: TaskRecord, facts: Facts) -> list[LiveExecutor]:
    """Those that run such tasks from this queue."""
    return [each for each in _knowing(record, facts) if each.queues is None or record.queue in each.queues]


def _free(record: TaskRecord, able: Sequence[LiveExecutor]) -> list[LiveExecutor]:
    return [each for each in able if _load(each, record.queue) is None]


def _would_quarantine(executor: LiveExecutor, record: TaskRecord) -> bool:
    return record.stalls >= executor.terms.stalls_max


def _load(executor: LiveExecutor, queue: str) -> Load | None:
    """How full an executor is, if it has no slot for a task of the queue."""
    if executor.running >= executor.slots:
        return Load(executor.id, executor.running, executor.slots)
    slots = executor.terms.queue_slots.get(queue)
    if slots is not None and executor.queue_running >= slots:
        return Load(executor.id, executor.queue_running, slots)
    return None


def _last_at(facts: Facts, kind: HistoryKind) -> datetime | None:
    return facts.last.at if facts.last is not None and facts.last.kind is kind else None
