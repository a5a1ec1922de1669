"""Who may be claimed, what a claim does, and that nobody else gets the same."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import trio

from milepost.lifecycle import events
from milepost.lifecycle.events import Event
from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.payload import JsonText
from milepost.stores.protocol import ClaimOrder, Session, Store
from milepost.testing.conformance.kit import (
    HOUR,
    NOW,
    SECOND,
    apply,
    claim,
    claim_one,
    decided,
    dump,
    expected_claim,
    get,
    history,
    holds,
    insert,
    numbers,
    open_leases,
    same,
    sample,
    sample_lease,
    samples,
    unchanged,
    write,
)

_X = JsonText('{"page":1}')
_ERROR = JsonText('"no"')


async def a_due_task_is_claimed(store: Store) -> None:
    await insert(store, sample(1, due_at=NOW), sample(2, due_at=NOW - HOUR))
    same(sorted(numbers(await claim(store))), [1, 2], "tasks due now and before")


async def a_task_is_not_claimed_before_it_is_due(store: Store) -> None:
    await insert(store, sample(1, due_at=NOW + timedelta(microseconds=1)))
    same(numbers(await claim(store)), [], "a task due one microsecond later")
    same(numbers(await claim(store, now=NOW + timedelta(microseconds=1))), [1], "the same task when it is due")


async def a_task_of_another_name_is_not_claimed(store: Store) -> None:
    await insert(store, sample(1, name="other"), sample(2, name="Send"), sample(3))
    same(numbers(await claim(store, names={"send": 1})), [3], "names are compared exactly")
    same(numbers(await claim(store, names={})), [], "an executor that knows no name")


async def a_task_of_another_queue_is_not_claimed(store: Store) -> None:
    await insert(store, sample(1, queue="slow"), sample(2))
    same(numbers(await claim(store, queue="default")), [2], "one queue only")
    same(numbers(await claim(store, queue="slow")), [1], "the other queue")


async def a_task_of_a_newer_version_is_not_claimed(store: Store) -> None:
    await open_leases(store, "ada")
    await insert(store, sample(1, version=1), sample(2, version=2), sample(3, version=3))
    same(sorted(numbers(await claim(store, names={"send": 2}))), [1, 2], "versions up to the highest known")
    same(numbers(await claim(store, names={"send": 3})), [3], "the newest version, once it is known")


async def versions_are_known_per_name(store: Store) -> None:
    await insert(store, sample(1, name="a", version=2), sample(2, name="b", version=2), sample(3, name="b"))
    same(sorted(numbers(await claim(store, names={"a": 2, "b": 1}))), [1, 3], "each name with its own version")


async def a_suspended_task_with_a_wake_up_is_claimed_when_due(store: Store) -> None:
    claimed = await claim_one(store, sample(1))
    await apply(store, claimed, events.Suspended(_X, NOW + HOUR))
    same(numbers(await claim(store, now=NOW + HOUR - SECOND)), [], "before the wake-up")
    same(numbers(await claim(store, now=NOW + HOUR)), [1], "at the wake-up")


async def a_suspended_task_without_a_wake_up_is_never_claimed(store: Store) -> None:
    claimed = await claim_one(store, sample(1))
    await apply(store, claimed, events.Suspended(_X))
    same(numbers(await claim(store, now=NOW + 1000 * HOUR)), [], "a parked task")


async def an_ended_or_quarantined_task_is_never_claimed(store: Store) -> None:
    await insert(store, *samples(1, 2, 3, 4))
    ends: tuple[Event, ...] = (events.Succeeded(_X), events.Failed(_ERROR), events.GaveUp(_ERROR), events.Stalled())
    claimed = await claim(store)
    changes = [decided(record, end) for record, end in zip(claimed, ends, strict=True)]
    same(await write(store, *changes), [True] * 4, "ending claimed tasks")
    same(numbers(await claim(store, "bob", now=NOW + 1000 * HOUR)), [], "ended and quarantined tasks")


async def a_cancelled_waiting_task_never_starts(store: Store) -> None:
    await insert(store, sample(1))
    await apply(store, sample(1), events.CancelRequested("enough"))
    same(numbers(await claim(store)), [], "a task that was cancelled while it waited")


async def a_limit_is_kept_and_zero_claims_nothing(store: Store) -> None:
    await insert(store, *samples(*range(10)))
    await open_leases(store, "ada")
    before = await dump(store)
    same(numbers(await claim(store, limit=0)), [], "a claim of none")
    await unchanged(store, before, "after a claim of none")
    same(len(await claim(store, limit=3)), 3, "how many a claim of 3 takes")
    same(len(await claim(store, limit=100)), 7, "how many are left")


async def a_claim_does_to_a_pending_task_what_the_transition_says(store: Store) -> None:
    before = sample(1, key="k", correlation="c", priority=3, deadline_seconds=2.5, deadline_at=NOW + HOUR)
    await insert(store, before)
    (claimed,) = await claim(store, now=NOW + SECOND)
    await expected_claim(store, before, claimed, NOW + SECOND)


async def a_claim_does_to_a_retrying_task_what_the_transition_says(store: Store) -> None:
    before = await apply(store, await claim_one(store, sample(1)), events.Failed(_ERROR, retry_after=SECOND))
    same(before.state, TaskState.RETRYING, "the state that the check needs")
    (claimed,) = await claim(store, "bob", now=NOW + HOUR)
    await expected_claim(store, before, claimed, NOW + HOUR)


async def a_claim_does_to_an_interrupted_task_what_the_transition_says(store: Store) -> None:
    before = await apply(store, await claim_one(store, sample(1)), events.Interrupted())
    (claimed,) = await claim(store, "bob", now=NOW + SECOND)
    await expected_claim(store, before, claimed, NOW + SECOND)


async def a_claim_does_to_a_suspended_task_what_the_transition_says(store: Store) -> None:
    before = await apply(store, await claim_one(store, sample(1)), events.Suspended(_X, HOUR))
    (claimed,) = await claim(store, "bob", now=NOW + HOUR)
    await expected_claim(store, before, claimed, NOW + HOUR)


async def a_reclaim_does_what_the_transition_says(store: Store) -> None:
    before = await claim_one(store, sample(1))
    before = await apply(store, before, events.CancelRequested("enough"))
    (claimed,) = await claim(store, "bob", now=NOW + 2 * HOUR)
    await expected_claim(store, before, claimed, NOW + 2 * HOUR)
    holds(claimed.token != before.token, "a reclaim keeps the old token")


async def a_claim_writes_the_history_of_the_transition(store: Store) -> None:
    first = await claim_one(store, sample(1))
    (second,) = await claim(store, "bob", now=NOW + 2 * HOUR)
    wanted = (
        *decided(sample(1), events.Claimed("ada", first.token or "")).history,
        *decided(first, events.Claimed("bob", second.token or ""), now=NOW + 2 * HOUR).history,
    )
    same(tuple((await history(store, first.id))[1:]), wanted, "the history of a claim and a reclaim")


async def every_claim_has_a_fresh_token(store: Store) -> None:
    await insert(store, *samples(*range(20)))
    claimed = await claim(store)
    again = await claim(store, "bob", now=NOW + SECOND)
    tokens = [record.token for record in (*claimed, *again)]
    same(len(claimed) + len(again), 20 + 20, "how many are claimed and reclaimed")
    same(len(set(tokens)), len(tokens), "how many different tokens")
    holds(all(token and len(token) >= 16 for token in tokens), "a token is empty or short enough to guess")


async def a_claim_is_exclusive(store: Store) -> None:
    await insert(store, *samples(*range(60)))
    executors = [f"executor-{n}" for n in range(8)]
    await open_leases(store, *executors)
    taken: list[TaskRecord] = []

    async def take(executor: str) -> None:
        for _ in range(4):
            taken.extend(await claim(store, executor, limit=3))

    async with trio.open_nursery() as nursery:
        for executor in executors:
            nursery.start_soon(take, executor)
    same(sorted(numbers(taken)), list(range(60)), "what eight executors claimed together")
    stored = {record.id: record for record in (await dump(store)).records}
    for record in taken:
        same(stored[record.id], record, "a claimed task in the store")


async def a_claim_twice_in_one_transaction_takes_different_tasks(store: Store) -> None:
    await insert(store, *samples(1, 2))
    await open_leases(store, "ada")
    order = ClaimOrder("ada", "default", {"send": 1}, 1)

    def claim_twice(session: Session) -> list[TaskRecord]:
        return [*session.claim(order, now=NOW), *session.claim(order, now=NOW), *session.claim(order, now=NOW)]

    same(numbers(await store.transact(claim_twice)), [1, 2], "three claims of one in one transaction")


async def a_live_lease_is_never_stolen_from(store: Store) -> None:
    running = await claim_one(store, sample(1))
    before = await dump(store)
    same(numbers(await claim(store, "bob", now=NOW + HOUR - SECOND)), [], "under a live lease")
    same(numbers(await claim(store, "bob", now=NOW + HOUR)), [], "in the last instant of the lease")
    await unchanged(store, before, "after claims that found nothing")
    same(numbers(await claim(store, "bob", now=NOW + HOUR + timedelta(microseconds=1))), [1], "after the lease")
    holds((await get(store, running.id)).fence == running.fence + 1, "a steal does not raise the fence by one")


async def a_renewed_lease_is_not_stolen_from(store: Store) -> None:
    await claim_one(store, sample(1))
    later = NOW + 3 * HOUR
    await store.transact(lambda session: session.renew("ada", now=later, lease_until=later + HOUR, running=1))
    same(numbers(await claim(store, "bob", now=later)), [], "under a renewed lease")


async def a_missing_lease_row_counts_as_expired(store: Store) -> None:
    await insert(store, sample(1))
    same(numbers(await claim(store, "ada")), [1], "a claim by an executor that never announced itself")
    same(numbers(await claim(store, "bob")), [1], "what an executor without a lease owns")
    await open_leases(store, "bob")
    same(numbers(await claim(store, "cid")), [], "what it owns once it has a lease")
    await store.transact(lambda session: session.close_lease("bob"))
    same(numbers(await claim(store, "cid")), [1], "what it owned after its lease was closed")


async def a_reclaim_keeps_to_names_versions_and_queues(store: Store) -> None:
    tasks = [sample(1, name="other"), sample(2, queue="slow"), sample(3, version=2), sample(4)]
    await insert(store, *tasks)
    for queue in ("default", "slow"):
        await claim(store, queue=queue, names={"send": 2, "other": 1})
    same(numbers(await claim(store, "bob", names={"send": 1})), [4], "what an executor that knows less reclaims")


async def the_late_write_of_a_robbed_owner_changes_nothing(store: Store) -> None:
    robbed = await claim_one(store, sample(1))
    await claim(store, "bob", now=NOW + 2 * HOUR)
    before = await dump(store)
    for event in (events.Committed(_X), events.Succeeded(_X), events.Interrupted()):
        same(await write(store, decided(robbed, event)), [False], f"a late {type(event).__name__}")
    await unchanged(store, before, "after the late writes of a robbed owner")


async def a_late_write_of_an_owner_that_was_not_robbed_is_accepted(store: Store) -> None:
    claimed = await claim_one(store, sample(1))
    committed = await apply(store, claimed, events.Committed(_X), now=NOW + 5 * HOUR)
    same(await get(store, claimed.id), committed, "a commit after the lease ran out and nobody stole")


async def a_new_claim_reads_the_last_commit(store: Store) -> None:
    claimed = await claim_one(store, sample(1))
    await apply(store, claimed, events.Committed(_X))
    (again,) = await claim(store, "bob", now=NOW + 2 * HOUR)
    same(again.execution_metadata_json, _X, "the execution metadata that the next owner starts from")
    same(again.idempotency_key, f"{claimed.id}:1", "its idempotency key")


async def a_claim_sees_what_its_own_transaction_inserted(store: Store) -> None:
    def insert_and_claim(session: Session) -> list[TaskRecord]:
        session.open_lease(sample_lease("ada"))
        session.insert([sample(1)])
        return session.claim(ClaimOrder("ada", "default", {"send": 1}, 5), now=NOW)

    same(numbers(await store.transact(insert_and_claim)), [1], "what the transaction claims of its own")


async def a_large_claim_takes_everything_once(store: Store) -> None:
    await insert(store, *samples(*range(1_500)))
    await open_leases(store, "ada")
    claimed = await claim(store, limit=2_000)
    same(Counter(numbers(claimed)), Counter(range(1_500)), "a claim of more than there are")
