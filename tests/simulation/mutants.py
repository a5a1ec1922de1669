"""Planted faults: each takes one precaution out of the house while its block lasts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

import attrs
import pytest
import trio

from milepost.executor import claiming, engine, outbox, standing, turn
from milepost.lifecycle import events, transition
from milepost.lifecycle.change import Transition
from milepost.lifecycle.record import TaskRecord
from milepost.stores.memory import session as memory
from milepost.stores.memory.tables import Row, Tables
from milepost.stores.protocol import Held, Lease, Session
from milepost.testing.simulation import Fault

Mutant: TypeAlias = Callable[[pytest.MonkeyPatch], None]


def the_fence_is_not_checked(patch: pytest.MonkeyPatch) -> None:
    """A write is accepted if only the state is still the same."""

    class StateOnly:
        @staticmethod
        def of(record: TaskRecord) -> object:
            return record.state

    patch.setattr(memory, "Version", StateOnly)


def a_commit_is_acknowledged_early(patch: pytest.MonkeyPatch) -> None:
    """A commit returns when it was handed in, not when it is durable."""

    async def put_and_wait(self: outbox.Outbox, parcel: outbox.Parcel) -> None:
        self.put(parcel)
        await trio.lowlevel.checkpoint()

    patch.setattr(outbox.Outbox, "put_and_wait", put_and_wait)


def a_lease_is_doubted_early(patch: pytest.MonkeyPatch) -> None:
    """Executors take over from those whose lease has run for two thirds."""

    def is_expired(lease: Lease | None, now: datetime) -> bool:
        return lease is None or lease.renewed_at + (lease.lease_until - lease.renewed_at) * 2 / 3 < now

    patch.setattr(memory, "_is_expired", is_expired)


def stalls_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    """A claim does not spend the stall budget."""
    decide = transition._claim  # pyright: ignore[reportPrivateUsage]

    def claim(record: TaskRecord, event: events.Claimed, now: datetime) -> Any:
        decided = decide(record, event, now)
        if isinstance(decided, Transition):
            return attrs.evolve(decided, after=decided.after.changed({"stalls": record.stalls}))
        return decided

    patch.setattr(transition, "_claim", claim)


def a_lost_reply_is_repeated_blindly(patch: pytest.MonkeyPatch) -> None:
    """What a turn could not learn the fate of is written once more, without a look at what is there."""

    def written_before(session: Session, delivery: turn.Delivery) -> None:
        return None

    patch.setattr(turn, "_written_before", written_before)


def a_cancel_is_dropped(patch: pytest.MonkeyPatch) -> None:
    """A task that was asked to end while it ran goes on when it suspends or is tried again."""
    decide = transition._end_or_go_on  # pyright: ignore[reportPrivateUsage]

    def end_or_go_on(record: TaskRecord, event: Any, *rest: Any) -> Any:
        return decide(record.changed({"cancel_requested_at": None}), event, *rest)

    patch.setattr(transition, "_end_or_go_on", end_or_go_on)


def a_run_is_not_told_of_a_cancel(patch: pytest.MonkeyPatch) -> None:
    """Executors do not look for cancels."""

    def cancel_requests(self: memory.MemorySession, executor: str) -> list[Held]:
        return []

    patch.setattr(memory.MemorySession, "cancel_requests", cancel_requests)


def a_retry_does_not_wait(patch: pytest.MonkeyPatch) -> None:
    """What has failed is due at once."""
    decide = transition._retry  # pyright: ignore[reportPrivateUsage]

    def retry(record: TaskRecord, delay: timedelta, *rest: Any, **last: Any) -> Any:
        return decide(record, timedelta(), *rest, **last)

    patch.setattr(transition, "_retry", retry)


def a_key_is_not_held(patch: pytest.MonkeyPatch) -> None:
    """Nobody looks whether a key is taken."""

    def enter(self: Tables, row: Row) -> None:
        enter_indexes(self, Row(row.number, row.record.changed({"key": None})))

    def leave(self: Tables, row: Row) -> None:
        leave_indexes(self, Row(row.number, row.record.changed({"key": None})))

    enter_indexes, leave_indexes = Tables._enter_indexes, Tables._leave_indexes  # pyright: ignore[reportPrivateUsage]
    patch.setattr(Tables, "_enter_indexes", enter)
    patch.setattr(Tables, "_leave_indexes", leave)


def what_runs_is_not_counted(patch: pytest.MonkeyPatch) -> None:
    """A limited queue is claimed from as if nothing of it ran yet."""
    net: Any = claiming._Net  # pyright: ignore[reportPrivateUsage]

    def free(self: Any, said: Mapping[str, Any], queues: Sequence[str]) -> dict[str, int | None]:
        return {queue: said[queue].concurrency if queue in said else None for queue in queues}

    patch.setattr(net, "_free", free)


def a_stop_gives_nothing_back(patch: pytest.MonkeyPatch) -> None:
    """An executor that stops leaves its tasks to whoever finds them."""

    def release_nothing(session: Session, executor: str, **rest: Any) -> int:
        return 0

    patch.setattr(engine, "release_all", release_nothing)


def a_stop_overtakes_a_new_lease(patch: pytest.MonkeyPatch) -> None:
    """An executor gives back its lease while it is still asking for another one. The simulation has found this one."""

    async def give_back(self: Any, release: Callable[[Session, str], int]) -> int:
        executor = self.executor

        def give(session: Session) -> int:
            return release(session, executor)

        return int(await self._store.transact(give))

    patch.setattr(standing.Standing, "give_back", give_back)


MUTANTS: Final[Sequence[Mutant]] = (
    the_fence_is_not_checked,
    a_commit_is_acknowledged_early,
    a_lease_is_doubted_early,
    stalls_are_not_counted,
    a_lost_reply_is_repeated_blindly,
    a_cancel_is_dropped,
    a_run_is_not_told_of_a_cancel,
    a_retry_does_not_wait,
    a_key_is_not_held,
    what_runs_is_not_counted,
    a_stop_gives_nothing_back,
)
SHY: Final[Sequence[Mutant]] = (a_stop_overtakes_a_new_lease,)
"""Looked for in the long tier only: it takes up to half of the hundred seeds."""


LOOKED_FOR_UNDER: Final[Mapping[Mutant, Collection[Fault]]] = {
    stalls_are_not_counted: (),
    what_runs_is_not_counted: (),
    a_lost_reply_is_repeated_blindly: {Fault.LOST_REPLY, Fault.DOUBLED_HINT},
}
"""What brings some to light soonest; under everything that can go wrong it takes some more seeds."""


@contextmanager
def planted(mutant: Mutant) -> Generator[None]:
    """The house with one of its precautions taken out."""
    with pytest.MonkeyPatch.context() as patch:
        mutant(patch)
        yield
