"""What a proceed, early or not, and a start deadline leave in a store is written and read back like all else."""

from __future__ import annotations

from milepost.lifecycle import events
from milepost.lifecycle.events import Event
from milepost.lifecycle.record import HistoryKind, TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.payload import JsonText
from milepost.stores.protocol import Store
from milepost.testing.conformance.kit import (
    HOUR,
    NOW,
    SECOND,
    apply,
    claim,
    claim_one,
    decided,
    get,
    history,
    same,
    sample,
    task_id,
    write,
)

_X = JsonText('{"page":7}')
_OF_PROCEEDS = frozenset({HistoryKind.PROCEEDED, HistoryKind.PROCEED_KEPT, HistoryKind.PROCEED_DROPPED})


async def a_suspended_task_goes_on_with_what_a_proceed_commits(store: Store) -> None:
    parked = await apply(store, await claim_one(store, sample(1)), events.Suspended(_X))
    proceeded = await apply(store, parked, events.Proceeded(JsonText('{"page":8}')))
    same(await get(store, task_id(1)), proceeded, "the task after a proceed")
    again = await _claimed_again(store, proceeded)
    same(again.execution_metadata, {"page": 8}, "the execution metadata that the next claim gives")


async def a_proceed_for_later_gives_a_wake_up(store: Store) -> None:
    parked = await apply(store, await claim_one(store, sample(1)), events.Suspended(_X))
    later = await apply(store, parked, events.Proceeded(at=NOW + HOUR))
    same(await get(store, task_id(1)), later, "the task after a proceed for later")
    found = await store.read(lambda session: session.next_due({"send": 1}, ["default"]))
    same(found, NOW + HOUR, "when the next task falls due")


async def a_write_decided_before_a_proceed_was_kept_changes_nothing(store: Store) -> None:
    claimed = await claim_one(store, sample(1))
    kept = await apply(store, claimed, events.Proceeded())
    for event in (events.Suspended(_X), events.Committed(_X), events.Succeeded(_X)):
        same(await write(store, decided(claimed, event)), [False], f"the answer to {event} on the row as it was")
        same(await get(store, task_id(1)), kept, "the task after that")
    after = await apply(store, kept, events.Suspended(_X))
    same(
        (after.state, after.early_proceed_at), (TaskState.PENDING, None), "what the suspension makes of a kept proceed"
    )


async def a_kept_proceed_is_told_of_whatever_uses_it_up(store: Store) -> None:
    ways: dict[Event, HistoryKind] = {
        events.Suspended(_X): HistoryKind.PROCEEDED,
        events.Succeeded(_X): HistoryKind.PROCEED_DROPPED,
        events.Failed(_X): HistoryKind.PROCEED_DROPPED,
    }
    for n, (event, kind) in enumerate(ways.items()):
        kept = await apply(store, await claim_one(store, sample(n, queue=f"q{n}")), events.Proceeded())
        after = await apply(store, kept, event)
        same(await get(store, task_id(n)), after, f"the task after {event}")
        lines = await history(store, task_id(n))
        kinds = [line.kind for line in lines if line.kind in _OF_PROCEEDS]
        same(kinds, [HistoryKind.PROCEED_KEPT, kind], f"the history after {event}")
        same([line.state for line in lines[-2:]], [after.state] * 2, f"the states in the history after {event}")


async def a_proceed_of_an_older_version_moves_the_whole_row(store: Store) -> None:
    parked = await apply(store, await claim_one(store, sample(1)), events.Suspended(_X))
    moved = events.Moved(2, JsonText('{"n":"1"}'), JsonText('{"page":"0"}'))
    after = await apply(store, parked, events.Proceeded(JsonText('{"page":"7"}'), moved=moved))
    same(after.version, 2, "the version after a proceed by a newer program")
    same(await get(store, task_id(1)), after, "the task after that")


async def a_start_deadline_is_kept_until_a_requeue(store: Store) -> None:
    claimed = await claim_one(store, sample(1, start_by=NOW + SECOND))
    same(claimed.start_by, NOW + SECOND, "the start deadline of a claimed task")
    back = await apply(store, claimed, events.Deferred(SECOND))
    same((back.start_by, back.started_at), (NOW + SECOND, None), "a claim that was given back unused")
    same(await get(store, task_id(1)), back, "the task after that")
    late = await _claimed_again(store, back, hours=1)
    failed = await apply(store, late, events.StartMissed())
    fresh = await apply(store, failed, events.Requeued())
    same((await get(store, task_id(1))).start_by, None, "the start deadline after a requeue")
    same(await get(store, task_id(1)), fresh, "the task after a requeue")


async def _claimed_again(store: Store, record: TaskRecord, *, hours: int = 0) -> TaskRecord:
    (claimed,) = await claim(store, "ada", now=NOW + hours * HOUR)
    same(claimed.id, record.id, "the id that is claimed")
    return claimed
