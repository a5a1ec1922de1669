"""Why a task does not run, as both clients tell it of every store."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import attrs
import trio
from returns.result import Failure as Refused
from returns.result import Success as Answered

from milepost import (
    BackingOff,
    CancelPending,
    ClaimedBy,
    ConcurrencyReached,
    Ended,
    Failure,
    Gate,
    NameUnregistered,
    OwnerLost,
    QueueBusy,
    QueuePaused,
    RateReached,
    Retry,
    Sharer,
    Store,
    Success,
    Suspended,
    SuspendedUntil,
    TaskId,
    TaskNotFound,
    TaskResult,
    TaskState,
    open_executor,
    task,
)
from milepost.lifecycle.limits import ConcurrencyLimit, LimitKey, RateLimit
from milepost.lifecycle.terms import Terms
from milepost.lifecycle.transition import Policy
from milepost.stores.protocol import ClaimOrder, Session
from milepost.testing.conformance.kit import sample, sample_lease, task_id
from tests.client.threaded import AnyClient
from tests.executor.kit import quick, until_state

HOUR = timedelta(hours=1)


@task(retry=Retry.fixed(1, HOUR))
async def send(metadata: str, progress: int) -> TaskResult[int, str]:
    match metadata:
        case "fail":
            return Failure.with_error("secret")
        case "raise":
            raise ValueError("no route")
        case "suspend":
            return Suspended()
        case "stay":
            await trio.sleep_forever()
        case _:
            pass
    return Success.with_result(1)


async def gates(client: AnyClient, id: TaskId) -> tuple[Gate, ...] | None:
    return (await client.explain(id)).unwrap()


async def enqueued(client: AnyClient, metadata: str = "go") -> TaskId:
    return (await client.enqueue(send.with_metadata(metadata).with_execution_metadata(0))).id


async def announced(store: Store, executor: str = "ada", **changes: Any) -> None:
    """Let there be a live executor that claims nothing."""
    await store.transact(
        lambda session: session.open_lease(attrs.evolve(sample_lease(executor, session.now() + HOUR), **changes))
    )


async def claimed(store: Store, executor: str) -> TaskId:
    """The task that an executor takes, in silence."""

    def claim(session: Session) -> TaskId:
        (record,) = session.claim(ClaimOrder(executor, "default", {"send": 1}, 1), now=session.now())
        return record.id

    return await store.transact(claim)


async def test_a_task_that_is_not_there_is_a_refusal(client: AnyClient) -> None:
    assert await client.explain(TaskId("nobody")) == Refused(TaskNotFound(TaskId("nobody")))


async def test_a_task_for_which_somebody_has_a_slot_has_no_gate(client: AnyClient, store: Store) -> None:
    id = await enqueued(client)
    assert await gates(client, id) == (NameUnregistered("send", 0),)
    await announced(store)
    assert await client.explain(id) == Answered(None)


async def test_an_executor_that_is_not_believed_in_any_more_does_not_count(client: AnyClient, store: Store) -> None:
    id = await enqueued(client)
    await store.transact(lambda session: session.open_lease(sample_lease("late", session.now() - HOUR)))
    assert await gates(client, id) == (NameUnregistered("send", 0),)


async def test_a_running_task_says_who_runs_it_and_that_its_end_was_asked_for(client: AnyClient, store: Store) -> None:
    id = await enqueued(client)
    await announced(store, "ada")
    await claimed(store, "ada")
    await client.cancel(id, reason="enough")
    match await gates(client, id):
        case (ClaimedBy(executor="ada"), CancelPending(reason="enough")):
            pass
        case other:
            raise AssertionError(other)


async def test_a_task_whose_executor_is_gone_is_runnable_for_others_only(client: AnyClient, store: Store) -> None:
    id = await enqueued(client)
    await claimed(store, "gone")
    assert await gates(client, id) == (OwnerLost("gone", None), NameUnregistered("send", 0))
    await announced(store)
    assert await gates(client, id) is None


async def test_a_paused_queue_is_told_with_the_reason(client: AnyClient, store: Store) -> None:
    id = await enqueued(client)
    await announced(store)
    paused = await client.pause_queue("default", reason="deploy")
    assert paused.paused_at is not None
    assert await gates(client, id) == (QueuePaused("default", paused.paused_at, "deploy"),)
    await client.resume_queue("default")
    assert await gates(client, id) is None


async def test_a_queue_with_as_many_running_tasks_as_it_may_have_is_told(client: AnyClient, store: Store) -> None:
    await announced(store)
    await enqueued(client)
    await claimed(store, "ada")
    await client.set_queue("default", concurrency=1)
    assert await gates(client, await enqueued(client)) == (QueueBusy("default", 1, 1),)


async def test_a_failed_attempt_backs_off_and_shows_no_payload_of_its_error(client: AnyClient, store: Store) -> None:
    failing, raising = await enqueued(client, "fail"), await enqueued(client, "raise")
    async with open_executor(store, [send], config=quick()):
        due_at = (await until_state(store, raising, TaskState.RETRYING)).due_at
        await until_state(store, failing, TaskState.RETRYING)
        assert due_at is not None
        assert await gates(client, raising) == (BackingOff(due_at, "ValueError: no route"),)


async def test_a_suspended_task_and_an_ended_one_say_so(client: AnyClient, store: Store) -> None:
    suspending, going = await enqueued(client, "suspend"), await enqueued(client)
    async with open_executor(store, [send], config=quick()):
        await until_state(store, suspending, TaskState.SUSPENDED)
        ended = await until_state(store, going, TaskState.COMPLETED)
        assert await gates(client, suspending) == (SuspendedUntil(None),)
        assert await gates(client, going) == (Ended(TaskState.COMPLETED, ended.finished_at),)


async def test_an_executor_runs_what_has_no_gate_and_leaves_the_rest(client: AnyClient, store: Store) -> None:
    going = await enqueued(client)
    request = send.with_metadata("go").with_execution_metadata(0)
    held = (await client.enqueue(request.in_queue("held"))).id
    later = (await client.enqueue(request.after(HOUR))).id
    await client.pause_queue("held")
    await announced(store)
    assert [await gates(client, id) is None for id in (going, held, later)] == [True, False, False]
    async with open_executor(store, [send], config=quick()):
        await client.wait(going, timeout_seconds=10)
        assert [await gates(client, id) is None for id in (held, later)] == [False, False]
        await client.resume_queue("held")
        await client.wait(held, timeout_seconds=10)
    assert (await client.get(later)).unwrap().started_at is None


async def test_an_executor_announces_the_limits_by_which_its_tasks_start(client: AnyClient, store: Store) -> None:
    rate, limit = RateLimit(1, HOUR, key=str), ConcurrencyLimit(2, key=str)

    @task(name="limited", rate_limit=rate, concurrency_limit=limit)
    def limited(metadata: str, progress: int) -> TaskResult[int, str]:
        return Success.with_result(1)

    async with open_executor(store, [limited], config=quick(queues={"default": 3}, stalls_max=7)):
        (lease,) = await store.read(lambda session: session.leases())
        policy = Policy(rate_limit=rate, concurrency_limit=limit)
        assert lease.terms == Terms.of({"limited": policy}, stalls_max=7, queue_slots={"default": 3})


async def test_a_share_that_others_have_and_a_start_that_others_took_are_told(client: AnyClient, store: Store) -> None:
    terms = Terms(rates={"bill": RateLimit(1, HOUR)}, concurrency={"send": ConcurrencyLimit(1)})
    await announced(store, tasks={"send": 1, "bill": 1}, terms=terms)

    def prepare(session: Session) -> datetime:
        now = session.now()
        new = sample(1, created_at=now, due_at=now)
        session.insert(
            [
                attrs.evolve(new, concurrency_key="k", state=TaskState.RUNNING, due_at=None, executor="ada", fence=1),
                attrs.evolve(new, id=task_id(2), concurrency_key="k"),
                attrs.evolve(new, id=task_id(3), concurrency_key="other"),
                attrs.evolve(new, id=task_id(4), name="bill", rate_key="r"),
                attrs.evolve(new, id=task_id(5), name="bill", rate_key="other"),
            ]
        )
        used_until = now + HOUR / 2
        session.limits.put_rates({LimitKey("bill", "r"): used_until})
        return used_until

    used_until = await store.transact(prepare)
    assert await gates(client, task_id(2)) == (ConcurrencyReached("k", 1, 1, (Sharer(task_id(1), "ada"),)),)
    assert await gates(client, task_id(3)) is None
    assert await gates(client, task_id(4)) == (RateReached("r", used_until),)
    assert await gates(client, task_id(5)) is None
