"""The audit levels: of every kind of history each store keeps at each level what the pure function keeps."""

from __future__ import annotations

import attrs

from milepost.crash import Crash, CrashKind
from milepost.lifecycle import events
from milepost.lifecycle.change import enqueued_history, is_audited
from milepost.lifecycle.events import Event
from milepost.lifecycle.record import Audit, HistoryEvent, HistoryKind, TaskRecord
from milepost.lifecycle.states import LimitKind
from milepost.payload import JsonText
from milepost.stores.protocol import Store
from milepost.testing.conformance.kit import (
    HOUR,
    NOW,
    SECOND,
    claim,
    decided,
    history,
    insert,
    open_leases,
    same,
    sample,
    write,
)

_X = JsonText("1")
_CLAIMED = "claimed"
_RECLAIMED = "reclaimed"

# Lives of one task each, between them every kind of history; a word stands for a claim by the store itself.
_LIVES: tuple[tuple[Event | str, ...], ...] = (
    (_CLAIMED, events.Committed(_X), events.Succeeded(_X)),
    (_CLAIMED, _RECLAIMED, events.Failed(_X, retry_after=SECOND), _CLAIMED, events.Failed(_X)),
    (_CLAIMED, events.Interrupted(), _CLAIMED, events.Undecodable("odd"), _CLAIMED, events.Stalled()),
    (_CLAIMED, events.Limited(LimitKind.RATE, NOW), _CLAIMED, events.OverLimit(LimitKind.RATE, "full")),
    (_CLAIMED, events.CancelRequested("enough", by="ada"), events.CancelObeyed()),
    (events.CancelRequested("enough", by="ada"), events.Requeued(True, "again", "bob")),
    (_CLAIMED, events.Suspended(_X), events.Proceeded(by="ada", reason="paid"), _CLAIMED, events.GaveUp(_X)),
    (_CLAIMED, events.Proceeded(by="ada"), events.Crashed(Crash(CrashKind.TIMEOUT, "late"), retryable=False)),
    (_CLAIMED, events.Suspended(_X, event="paid", key="7"), events.Received(_X), _CLAIMED, events.Succeeded(_X)),
)


async def every_kind_of_history_is_kept_at_the_level_full(store: Store) -> None:
    told = await _live(store, Audit.FULL)
    same({event.kind for event in told}, set(HistoryKind), "the kinds that lives of all sorts tell of")


async def every_kind_of_history_is_kept_as_the_level_transitions_says(store: Store) -> None:
    await _live(store, Audit.TRANSITIONS)


async def every_kind_of_history_is_kept_as_the_level_errors_says(store: Store) -> None:
    await _live(store, Audit.ERRORS)


async def no_kind_of_history_is_kept_at_the_level_none(store: Store) -> None:
    same(await _live(store, Audit.NONE), [], "the history at the level of nothing")


async def _live(store: Store, audit: Audit) -> list[HistoryEvent]:
    """Live all lives; what the store tells must be what is told at the level of everything, without what it omits."""
    told: list[HistoryEvent] = []
    for n, life in enumerate(_LIVES):
        record = sample(n, audit=audit, queue=f"q{n}")
        await insert(store, record)
        wanted = list(enqueued_history(attrs.evolve(record, audit=Audit.FULL)))
        for hour, step in enumerate(life):
            now = NOW + hour * HOUR
            before = record
            if isinstance(step, str):
                record, step = await _claim(store, record, hour)
            full = decided(attrs.evolve(before, audit=Audit.FULL), step, now=now)
            wanted += full.history
            if not isinstance(step, events.Claimed):
                change = decided(before, step, now=now)
                same(await write(store, change), [True], f"the answer to {type(step).__name__}")
                record = change.after
        kept = [line for line in wanted if is_audited(line.kind, audit)]
        same(await history(store, record.id), kept, f"the history of a life at the level {audit.value}")
        told += kept
    return told


async def _claim(store: Store, record: TaskRecord, hour: int) -> tuple[TaskRecord, Event]:
    executor = f"executor {hour}"
    # Each claims for less than an hour, so that the next one may take over.
    await open_leases(store, executor, until=NOW + hour * HOUR + SECOND)
    (claimed,) = await claim(store, executor, queue=record.queue, now=NOW + hour * HOUR)
    return claimed, events.Claimed(executor, claimed.token or "")
