"""What the store knows around one task, read in one transaction, for those who ask why it does not run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from returns.result import Failure, Result, Success

from milepost.lifecycle.children import ChildCount
from milepost.lifecycle.explanation import Facts, LiveExecutor, gates_of
from milepost.lifecycle.gates import Gate
from milepost.lifecycle.limiting import rate_key, share_key
from milepost.lifecycle.rates import RateUse
from milepost.lifecycle.record import HistoryEvent, TaskId, TaskRecord
from milepost.lifecycle.refusals import TaskNotFound
from milepost.lifecycle.states import TaskState
from milepost.stores.protocol import Lease, Session

_SHARERS_MAX: Final = 5
_AWAITED_MAX: Final = 5


def explain(session: Session, id: TaskId) -> Result[tuple[Gate, ...] | None, TaskNotFound]:
    """Every gate that keeps the task from running now, in order (`lifecycle.explanation`); None when there is none."""
    found = session.get([id])
    if not found:
        return Failure(TaskNotFound(id))
    now = session.now()
    return Success(gates_of(found[0], facts_of(session, found[0], now), now) or None)


def facts_of(session: Session, record: TaskRecord, now: datetime) -> Facts:
    """All that `gates_of` asks for."""
    leases = session.leases()
    queue = session.settings.get([record.queue]).get(record.queue)
    is_bounded = queue is not None and queue.concurrency is not None
    rate, share = rate_key(record), share_key(record)
    shares = record.concurrency_key is not None
    waits = record.waits_for_children
    owner = next((lease for lease in leases if lease.executor == record.executor), None)
    return Facts(
        live=[_live(session, lease, record) for lease in leases if lease.is_alive(now)],
        owner_until=None if owner is None else owner.lease_until,
        last=_last_line(session, record, now),
        queue=queue,
        queue_running=session.settings.running(record.queue) if is_bounded else 0,
        rate=RateUse() if record.rate_key is None else session.limits.rates([rate])[rate],
        sharing=session.limits.running([share])[share] if shares else 0,
        sharers=tuple(session.limits.sharers(share, limit=_SHARERS_MAX)) if shares else (),
        children=session.joins.counts([record.id]).get(record.id, ChildCount()) if waits else ChildCount(),
        awaited=tuple(session.joins.unfinished_of(record.id)[:_AWAITED_MAX]) if waits else (),
        parked=tuple(session.limits.parked({share: 1}, now=now).get(share, ())) if shares else (),
    )


def _last_line(session: Session, record: TaskRecord, now: datetime) -> HistoryEvent | None:
    """The last line of the history, where it may say why the task waits; a history can be long."""
    waits = record.due_at is not None and record.due_at > now and record.state is not TaskState.SUSPENDED
    if not waits and record.state is not TaskState.QUARANTINED:
        return None
    return next(reversed(session.history(record.id)), None)


def _live(session: Session, lease: Lease, record: TaskRecord) -> LiveExecutor:
    held = [each.id for each in session.held(lease.executor)] if record.name in lease.tasks else []
    return LiveExecutor(
        id=lease.executor,
        tasks=lease.tasks,
        queues=lease.queues,
        slots=lease.slots,
        running=len(held),
        queue_running=_running_of(session, held, lease, record.queue),
        terms=lease.terms,
    )


def _running_of(session: Session, held: Sequence[TaskId], lease: Lease, queue: str) -> int:
    """How many of the `held` tasks are of the queue; they are read only if they could fill its slots."""
    if len(held) < lease.terms.queue_slots.get(queue, len(held) + 1):
        return 0
    return sum(record.queue == queue for record in session.get(held))
