"""Whether the time of a claim depends on what it cannot or need not take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial

from attrs import evolve

from milepost.ids import new_id
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.stores.open import connect_store
from milepost.stores.protocol import ClaimOrder, Lease, Session

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def waiting(count: int, change: Callable[[TaskRecord], TaskRecord] = lambda record: record) -> Iterable[TaskRecord]:
    """So many waiting records."""
    for _ in range(count):
        yield change(TaskRecord(id=TaskId(new_id()), name="t", created_at=NOW, due_at=NOW))


CASES: dict[str, Callable[[TaskRecord], TaskRecord]] = {
    "that are due too": lambda record: record,
    "due in an hour, of higher priority": lambda r: evolve(r, priority=9, due_at=NOW + timedelta(hours=1)),
    "of another name": lambda r: evolve(r, name="other"),
    "of a newer version": lambda r: evolve(r, version=2),
    "of another queue": lambda r: evolve(r, queue="other"),
}


def _insert(records: list[TaskRecord], session: Session) -> None:
    session.insert(records)


def claim_seconds(url: str, extra: int, change: Callable[[TaskRecord], TaskRecord], *, rounds: int = 31) -> float:
    """The median seconds of a claim of 100 among 1,000 waiting rows and `extra` ones."""
    store = connect_store(url)
    try:
        for start in range(0, extra, 20_000):
            batch = list(waiting(min(20_000, extra - start), change))
            store.transact_blocking(partial(_insert, batch))
        store.transact_blocking(partial(_insert, list(waiting(1_000))))
        lease = Lease(
            "me", "h", 1, NOW, NOW, NOW + timedelta(days=1), slots=100, running=0, tasks={"t": 1}, queues=None
        )
        store.transact_blocking(lambda session: session.open_lease(lease))
        order = ClaimOrder("me", "default", {"t": 1}, 100)

        seconds: list[float] = []

        def claim(session: Session) -> None:
            begin = time.perf_counter()
            taken = session.claim(order, now=NOW)
            seconds.append(time.perf_counter() - begin)
            if len(taken) != 100:
                raise AssertionError(f"claimed {len(taken)} of 100")
            # Made up for, and not rolled back: psycopg forgets what it has prepared then, and has it planned again.
            session.insert(waiting(100))

        for _ in range(rounds):
            store.transact_blocking(claim)
        return statistics.median(seconds)
    finally:
        store.close()
