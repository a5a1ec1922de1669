"""A write stores exactly what was decided, and only on a row that is still what the decision was made on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs

from milepost.crash import Crash, CrashKind
from milepost.lifecycle import events
from milepost.lifecycle.change import Transition
from milepost.lifecycle.events import Event
from milepost.lifecycle.record import Audit, TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.payload import JsonText
from milepost.stores.protocol import Session, Store
from milepost.testing.conformance.kit import (
    HOUR,
    NOW,
    SECOND,
    apply,
    claim,
    claim_one,
    decided,
    dump,
    get,
    history,
    insert,
    same,
    sample,
    samples,
    unchanged,
    write,
)

_X = JsonText('{"page":2}')
_RESULT = JsonText('{"sent":true}')
_ERROR = JsonText('{"code":"no"}')
_CRASH = Crash(CrashKind.EXCEPTION, 'it\'s "broken"', "ValueError", "Traceback ...\n  line\n")

_RUN_EVENTS: tuple[Event, ...] = (
    events.Committed(_X),
    events.Succeeded(_RESULT),
    events.Suspended(_X),
    events.Suspended(None, NOW + HOUR),
    events.Suspended(_X, timedelta(microseconds=1)),
    events.Suspended(_X, at_once=True),
    events.Failed(_ERROR),
    events.Failed(_ERROR, retryable=True),
    events.Failed(_ERROR, retry_after=HOUR),
    events.GaveUp(_ERROR),
    events.Crashed(_CRASH),
    events.Crashed(_CRASH, retryable=False),
    events.DeadlineMissed(),
    events.Interrupted(),
    events.Undecodable("no such version"),
    events.Stalled(),
    events.CancelRequested("enough"),
    events.CancelObeyed(),
)


async def a_write_stores_exactly_what_was_decided(store: Store) -> None:
    for n, event in enumerate(_RUN_EVENTS):
        claimed = await claim_one(store, sample(n, audit=Audit.FULL, key=f"key {n}"))
        change = decided(claimed, event, now=NOW + SECOND)
        earlier = await history(store, claimed.id)
        same(await write(store, change), [True], f"the answer to {event}")
        same(await get(store, claimed.id), change.after, f"the task after {event}")
        same(await history(store, claimed.id), [*earlier, *change.history], f"the history after {event}")


async def a_requeue_stores_exactly_what_was_decided(store: Store) -> None:
    ends: tuple[Event, ...] = (
        events.Succeeded(_RESULT),
        events.Failed(_ERROR),
        events.GaveUp(_ERROR),
        events.Stalled(),
    )
    for n, end in enumerate(ends):
        claimed = await claim_one(store, sample(n, deadline_seconds=60.0, deadline_at=NOW + SECOND * 60))
        committed = await apply(store, claimed, events.Committed(_X))
        ended = await apply(store, committed, end)
        requeued = await apply(store, ended, events.Requeued(from_start=bool(n % 2)), now=NOW + HOUR)
        same(await get(store, ended.id), requeued, f"a requeued task that was {ended.state.value}")


async def a_write_on_another_state_changes_nothing(store: Store) -> None:
    await _is_guarded(store, state=TaskState.INTERRUPTED)


async def a_write_with_a_stale_fence_changes_nothing(store: Store) -> None:
    await _is_guarded(store, fence=1)


async def a_write_with_a_future_fence_changes_nothing(store: Store) -> None:
    await _is_guarded(store, fence=3)


async def a_write_with_another_token_changes_nothing(store: Store) -> None:
    await _is_guarded(store, token="somebody else's")


async def a_write_without_the_token_changes_nothing(store: Store) -> None:
    await _is_guarded(store, token=None)


async def a_write_with_a_stale_sequence_changes_nothing(store: Store) -> None:
    await _is_guarded(store, sequence=0)


async def a_write_with_a_stale_revision_changes_nothing(store: Store) -> None:
    await _is_guarded(store, revision=1)


async def a_token_on_a_task_without_one_changes_nothing(store: Store) -> None:
    await insert(store, sample(1))
    before = await dump(store)
    change = decided(sample(1), events.CancelRequested("enough"))
    stale = attrs.evolve(change, before=attrs.evolve(change.before, token="forged"))
    same(await write(store, stale), [False], "a write with a token on a task that was never claimed")
    await unchanged(store, before, "after a write with a forged token")


async def a_task_that_was_never_claimed_can_be_written(store: Store) -> None:
    await insert(store, sample(1))
    after = await apply(store, sample(1), events.CancelRequested("enough"))
    same(await get(store, after.id), after, "a cancelled task that was never claimed")


async def a_write_of_an_unknown_task_changes_nothing(store: Store) -> None:
    await insert(store, sample(1))
    before = await dump(store)
    same(await write(store, decided(sample(2), events.CancelRequested("enough"))), [False], "an unknown task")
    await unchanged(store, before, "after a write of an unknown task")


async def the_same_write_is_accepted_once(store: Store) -> None:
    change = decided(await claim_one(store, sample(1, audit=Audit.FULL)), events.Committed(_X))
    same(await write(store, change, change), [True, False], "twice in one call")
    before = await dump(store)
    same(await write(store, change), [False], "once more")
    await unchanged(store, before, "after writing the same again")


async def each_write_of_a_call_is_answered_on_its_own(store: Store) -> None:
    await insert(store, *samples(1, 2, 3, 4))
    claimed = await claim(store)
    stale = attrs.evolve(claimed[1], revision=99)
    lost = attrs.evolve(claimed[3], token="lost")
    changes = [decided(record, events.Succeeded(_RESULT)) for record in (claimed[0], stale, claimed[2], lost)]
    same(await write(store, *changes), [True, False, True, False], "a mixed call")
    states = [(await get(store, record.id)).state.value for record in claimed]
    same(states, ["completed", "running", "completed", "running"], "the states after a mixed call")


async def a_write_of_nothing_answers_nothing(store: Store) -> None:
    same(await write(store), [], "a write of no transitions")


async def a_commit_and_the_end_fit_into_one_call(store: Store) -> None:
    claimed = await claim_one(store, sample(1, audit=Audit.FULL))
    commit = decided(claimed, events.Committed(_X))
    end = decided(commit.after, events.Succeeded(_RESULT), now=NOW + SECOND)
    same(await write(store, commit, end), [True, True], "a commit, then the end")
    same(await get(store, claimed.id), end.after, "the task after both")
    same(tuple((await history(store, claimed.id))[-2:]), (*commit.history, *end.history), "the history of both")


async def a_whole_life_fits_into_one_call(store: Store) -> None:
    claimed = await claim_one(store, sample(1, audit=Audit.FULL))
    changes: list[Transition] = []
    record = claimed
    commits = [events.Committed(JsonText(str(n))) for n in range(20)]
    life: tuple[Event, ...] = (*commits, events.Suspended(_X, at_once=True))
    for event in life:
        changes.append(decided(record, event))
        record = changes[-1].after
    same(await write(store, *changes), [True] * 21, "twenty commits and a suspension")
    same(await get(store, claimed.id), record, "the task after them")
    same(record.sequence, 21, "its sequence")


async def a_change_that_changes_nothing_is_accepted(store: Store) -> None:
    asked = await apply(store, await claim_one(store, sample(1)), events.CancelRequested("first"))
    before = await dump(store)
    same(await write(store, decided(asked, events.CancelRequested("second"))), [True], "asking for a cancel again")
    await unchanged(store, before, "after asking again")


async def a_write_is_seen_by_later_verbs_of_its_transaction(store: Store) -> None:
    claimed = await claim_one(store, sample(1))
    change = decided(claimed, events.Succeeded(_RESULT))

    def write_and_get(session: Session) -> list[TaskRecord]:
        session.write([change])
        return session.get([claimed.id])

    same(await store.transact(write_and_get), [change.after], "what the writing transaction reads")


async def a_write_leaves_other_tasks_alone(store: Store) -> None:
    await insert(store, *samples(1, 2, 3))
    claimed = await claim(store)
    others = [await get(store, record.id) for record in claimed[1:]]
    await apply(store, claimed[0], events.Succeeded(_RESULT))
    same([await get(store, record.id) for record in others], others, "the other tasks")


async def _is_guarded(store: Store, **difference: Any) -> None:
    # Claimed twice and committed once: fence 2, sequence 1, revision 3, so that lower values were once true.
    await claim_one(store, sample(1, audit=Audit.FULL))
    (claimed,) = await claim(store, "bob", now=NOW + 2 * HOUR)
    running = await apply(store, claimed, events.Committed(_X))
    before = await dump(store)
    ways: tuple[Event, ...] = (events.Committed(_RESULT), events.Succeeded(_RESULT), events.Interrupted())
    for event in ways:
        change = decided(running, event)
        stale = attrs.evolve(change, before=attrs.evolve(running, **difference))
        same(await write(store, stale), [False], f"{type(event).__name__} on another {', '.join(difference)}")
        await unchanged(store, before, f"after {type(event).__name__} on another {', '.join(difference)}")
    await apply(store, running, events.Committed(_RESULT))
