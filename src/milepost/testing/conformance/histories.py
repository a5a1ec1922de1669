"""The recorded changes of a task: in order, complete, and as much of them as its audit level asks for."""

from __future__ import annotations

from milepost.lifecycle import events
from milepost.lifecycle.change import enqueued_history
from milepost.lifecycle.events import Event
from milepost.lifecycle.record import Audit, HistoryEvent, HistoryKind, TaskRecord
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
    samples,
    task_id,
    write,
)

_X = JsonText("1")


async def history_tells_every_change_in_order(store: Store) -> None:
    wanted = await _live(store, sample(1, audit=Audit.FULL))
    same(await _history(store, 1), wanted, "the history of a whole life")
    kinds = [event.kind for event in wanted]
    same(kinds[:4], [HistoryKind.ENQUEUED, HistoryKind.CLAIMED, HistoryKind.COMMITTED, HistoryKind.COMMITTED], "kinds")


async def history_is_kept_at_the_level_of_transitions(store: Store) -> None:
    wanted = await _live(store, sample(1, audit=Audit.TRANSITIONS))
    same(await _history(store, 1), wanted, "the history at the level of transitions")


async def history_is_kept_at_the_level_of_errors(store: Store) -> None:
    wanted = await _live(store, sample(1, audit=Audit.ERRORS))
    same(await _history(store, 1), wanted, "the history at the level of errors")
    same([event.kind for event in wanted], [HistoryKind.RETRY_SCHEDULED], "the kinds at the level of errors")


async def no_history_is_kept_at_the_level_of_none(store: Store) -> None:
    await _live(store, sample(1, audit=Audit.NONE))
    same(await _history(store, 1), [], "the history at the level of nothing")


async def the_enqueueing_is_told_from_the_row(store: Store) -> None:
    await insert(store, sample(1))
    same(await _history(store, 1), list(enqueued_history(sample(1))), "the history of a new task")


async def an_unknown_task_has_no_history(store: Store) -> None:
    await insert(store, sample(1))
    same(await _history(store, 2), [], "the history of an unknown id")


async def histories_do_not_mix(store: Store) -> None:
    await open_leases(store, "ada")
    await insert(store, *samples(1, 2))
    claimed = await claim(store)
    for n in range(3):
        for place, record in enumerate(claimed):
            change = decided(record, events.Committed(JsonText(str(n))), now=NOW + n * SECOND)
            same(await write(store, change), [True], "a commit")
            claimed[place] = change.after
    same(len(await _history(store, 1)), 2, "how many lines the first task has")
    same(len(await _history(store, 2)), 2, "how many lines the second task has")


async def lines_of_one_instant_keep_their_order(store: Store) -> None:
    await open_leases(store, "ada")
    await insert(store, sample(1, audit=Audit.FULL))
    (record,) = await claim(store)
    wanted: list[HistoryEvent] = []
    for _ in range(15):
        change = decided(record, events.Committed(_X))
        wanted.extend(change.history)
        await write(store, change)
        record = change.after
    same((await _history(store, 1))[2:], wanted, "fifteen commits in one instant")


async def a_clock_that_steps_back_does_not_disorder_history(store: Store) -> None:
    await open_leases(store, "ada")
    await insert(store, sample(1))
    (claimed,) = await claim(store)
    interrupted = decided(claimed, events.Interrupted(), now=NOW - HOUR)
    await write(store, interrupted)
    kinds = [event.kind for event in await _history(store, 1)]
    same(kinds, [HistoryKind.ENQUEUED, HistoryKind.CLAIMED, HistoryKind.INTERRUPTED], "lines in order of writing")


async def _history(store: Store, n: int) -> list[HistoryEvent]:
    return await history(store, task_id(n))


async def _live(store: Store, record: TaskRecord) -> list[HistoryEvent]:
    """Live a life of every kind of change; returns the history that the pure function tells of it."""
    await open_leases(store, "ada", until=NOW + 1000 * HOUR)
    await insert(store, record)
    lines = list(enqueued_history(record))
    ways: tuple[tuple[Event, ...], ...] = (
        (events.Committed(_X), events.Committed(_X), events.Failed(_X, retry_after=SECOND)),
        (events.Suspended(_X, HOUR),),
        (events.Interrupted(),),
    )
    for hour, way in enumerate(ways):
        now = NOW + 2 * hour * HOUR
        (claimed,) = await claim(store, now=now)
        claiming = decided(record, events.Claimed("ada", claimed.token or ""), now=now)
        lines.extend(claiming.history)
        record = claimed
        for event in way:
            change = decided(record, event, now=now)
            await write(store, change)
            lines.extend(change.history)
            record = change.after
    ends: tuple[Event, ...] = (events.CancelRequested("enough"), events.Requeued())
    for event in ends:
        change = decided(record, event, now=NOW + 100 * HOUR)
        same(await write(store, change), [True], "the end of a life")
        lines.extend(change.history)
        record = change.after
    return lines
