"""Who works on a store: its executors, as they told of themselves with their last sign of life."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import final

from attrs import frozen

from milepost.stores.protocol import Lease, Session


@final
@frozen(kw_only=True)
class ExecutorInfo:
    """One executor. `is_alive` says whether its lease still held on the store's clock when it was asked for.

    Of its `slots`, `running` were taken at `renewed_at`. It runs `tasks`, each name with the highest version that it
    knows, from `queues`; None are all queues. One that has ended is listed until others have taken over from it.
    """

    id: str
    host: str
    pid: int
    started_at: datetime
    renewed_at: datetime
    lease_until: datetime
    is_alive: bool
    slots: int
    running: int
    tasks: Mapping[str, int]
    queues: tuple[str, ...] | None


def executors(session: Session) -> list[ExecutorInfo]:
    """Every executor that the store knows of, the longest running first."""
    now = session.now()
    known = [_told(lease, now) for lease in session.leases()]
    return sorted(known, key=lambda executor: (executor.started_at, executor.id))


def _told(lease: Lease, now: datetime) -> ExecutorInfo:
    return ExecutorInfo(
        id=lease.executor,
        host=lease.host,
        pid=lease.pid,
        started_at=lease.started_at,
        renewed_at=lease.renewed_at,
        lease_until=lease.lease_until,
        is_alive=lease.is_alive(now),
        slots=lease.slots,
        running=lease.running,
        tasks=lease.tasks,
        queues=lease.queues,
    )
