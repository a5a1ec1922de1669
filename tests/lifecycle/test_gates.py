"""Why a task does not run: every gate with its sentence, and the situations that each stands for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import attrs
import pytest

from milepost.crash import Crash, CrashKind
from milepost.lifecycle import gates
from milepost.lifecycle.children import ChildCount
from milepost.lifecycle.explanation import Facts, LiveExecutor, gates_of
from milepost.lifecycle.gates import Gate, Load, Sharer
from milepost.lifecycle.joining import GROUP_NAME
from milepost.lifecycle.limits import ConcurrencyLimit, RateLimit
from milepost.lifecycle.queues import QueueSettings, WhenFull
from milepost.lifecycle.rates import RateUse
from milepost.lifecycle.record import HistoryEvent, HistoryKind, TaskId, TaskRecord
from milepost.lifecycle.states import LimitKind, TaskState
from milepost.lifecycle.terms import Terms
from milepost.lifecycle.ties import Join
from milepost.payload import JsonText
from milepost.testing.conformance.kit import HOUR, NOW, SECOND, sample, task_id

THEN = NOW - HOUR
SOON = NOW + HOUR
S = TaskState

SENTENCES: list[tuple[Gate, str]] = [
    (gates.Ended(S.COMPLETED, THEN), "completed since 2030-01-01 11:00:00+00:00"),
    (gates.Ended(S.FAILED, None), "failed"),
    (
        gates.Quarantined(THEN, "claimed too often"),
        "quarantined since 2030-01-01 11:00:00+00:00 because: claimed too often; requeue it to try again",
    ),
    (gates.Quarantined(None, ""), "quarantined; requeue it to try again"),
    (
        gates.ClaimedBy("ada", SOON),
        "runs: claimed by the executor ada, whose lease holds until 2030-01-01 13:00:00+00:00",
    ),
    (
        gates.OwnerLost("ada", THEN),
        "waits to be taken over: its executor ada gave no sign of life after 2030-01-01 11:00:00+00:00",
    ),
    (gates.OwnerLost("ada", None), "waits to be taken over: its executor ada is gone"),
    (gates.CancelPending(THEN, "too late"), "a cancel was requested at 2030-01-01 11:00:00+00:00 because: too late"),
    (gates.CancelPending(THEN, ""), "a cancel was requested at 2030-01-01 11:00:00+00:00"),
    (
        gates.DeadlinePassed(THEN),
        "its deadline has passed at 2030-01-01 11:00:00+00:00: it will end instead of run",
    ),
    (
        gates.StartDeadlinePassed(THEN),
        "it should have started by 2030-01-01 11:00:00+00:00: it will end instead of run",
    ),
    (gates.StallsUsedUp(5), "claimed 5 times without progress: the next claim puts it into quarantine"),
    (gates.SuspendedUntil(SOON), "suspended until 2030-01-01 13:00:00+00:00"),
    (gates.SuspendedUntil(None), "suspended until somebody proceeds it"),
    (gates.EventAwaited("paid", "order 7", None), "waits for the event 'paid' of the key 'order 7'"),
    (
        gates.EventAwaited("paid", "order 7", SOON),
        "waits for the event 'paid' of the key 'order 7', until 2030-01-01 13:00:00+00:00",
    ),
    (
        gates.ChildrenAwaited(ChildCount(unfinished=3, completed=7), (task_id(1), task_id(2))),
        f"waits for its children: 7 of 10 completed, 3 have not ended ({task_id(1)}, {task_id(2)}, ...)",
    ),
    (
        gates.ChildrenAwaited(ChildCount(unfinished=1, failed=2, cancelled=1), (task_id(1),)),
        f"waits for its children: 0 of 4 completed, 2 failed, 1 was cancelled, 1 has not ended ({task_id(1)})",
    ),
    (gates.NotDue(SOON), "not due until 2030-01-01 13:00:00+00:00"),
    (gates.BackingOff(SOON, "ValueError: no"), "backs off until 2030-01-01 13:00:00+00:00 because: ValueError: no"),
    (gates.BackingOff(SOON, ""), "backs off until 2030-01-01 13:00:00+00:00"),
    (
        gates.RateReached("ada", SOON),
        "the rate limit of the key 'ada' is used up: it may start at 2030-01-01 13:00:00+00:00",
    ),
    (gates.RateReached("", None), "the rate limit is used up: it has no start yet"),
    (
        gates.ConcurrencyReached("ada", 3, 3, (Sharer(TaskId("x"), "bob"), Sharer(TaskId("y"), "cid"))),
        "the concurrency limit of the key 'ada' is reached, 3 of 3 run (x on bob, y on cid, ...)",
    ),
    (
        gates.ConcurrencyReached("", 1, None, (Sharer(task_id(1), "bob"),)),
        f"the concurrency limit is reached, 1 run ({task_id(1)} on bob)",
    ),
    (gates.RateReached("", None, ends=True), "the rate limit is used up: it will end instead of run"),
    (
        gates.ConcurrencyReached("", 1, 1, ends=True),
        "the concurrency limit is reached, 1 of 1 run: it will end instead of run",
    ),
    (
        gates.QueuePaused("bulk", THEN, "deploy"),
        "the queue 'bulk' is paused since 2030-01-01 11:00:00+00:00 because: deploy",
    ),
    (gates.QueueBusy("bulk", 4, 4), "the queue 'bulk' is busy: 4 of 4 tasks run in the whole fleet"),
    (gates.NameUnregistered("send", 0), "no live executor registers 'send': none is alive"),
    (gates.NameUnregistered("send", 1), "no live executor registers 'send': 1 is alive"),
    (gates.NameUnregistered("send", 2), "no live executor registers 'send': 2 are alive"),
    (gates.VersionTooNew("send", 3, 2), "needs version 3 of 'send': the highest of a live executor is 2"),
    (gates.QueueUnserved("bulk", "send"), "no live executor that runs 'send' serves the queue 'bulk'"),
    (
        gates.ExecutorsFull((Load("ada", 4, 4), Load("bob", 1, 1))),
        "every live executor that could run it is full: ada runs 4 of 4, bob runs 1 of 1",
    ),
]


@pytest.mark.parametrize(("gate", "sentence"), SENTENCES, ids=[repr(gate) for gate, _ in SENTENCES])
def test_a_gate_says_its_sentence(gate: Gate, sentence: str) -> None:
    assert str(gate) == sentence


def test_every_gate_has_a_sentence_in_the_table() -> None:
    assert {type(gate) for gate, _ in SENTENCES} == set(get_args(Gate))


def test_every_gate_is_in_the_table_of_the_page() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/how-to/why-does-it-not-run.md").read_text("utf-8")
    table = page.partition("## The gates")[2].partition("## What")[0]
    assert set(re.findall(r"`([A-Z]\w+)`", table)) - {"ExecutorConfig"} == {gate.__name__ for gate in get_args(Gate)}


def executor(id: str = "ada", **changes: Any) -> LiveExecutor:
    """One that runs what `sample` makes, with slots free."""
    plain = LiveExecutor(id=id, tasks={"send": 1}, queues=None, slots=10, running=0, queue_running=0)
    return attrs.evolve(plain, **changes)


def last(kind: HistoryKind, state: TaskState, reason: str) -> Facts:
    """An idle executor, and what the last line of the history says."""
    return attrs.evolve(ADA, last=HistoryEvent(THEN, kind, state, 1, "ada", reason))


def queue(**settings: Any) -> Facts:
    """An idle executor, and a queue with these settings of which four tasks run."""
    return attrs.evolve(ADA, queue=QueueSettings(name="default", **settings), queue_running=4)


ADA = Facts(live=[executor()])
HOURLY = RateLimit(2, 2 * HOUR, horizon=3 * HOUR)


def limited(
    *,
    rate: RateLimit | None = None,
    use: RateUse | None = None,
    concurrency: ConcurrencyLimit | None = None,
    **facts: Any,
) -> Facts:
    """An idle executor whose definition has these limits."""
    rates = {} if rate is None else {"send": rate}
    terms = Terms(rates=rates, concurrency={} if concurrency is None else {"send": concurrency})
    return Facts(live=[executor(terms=terms)], rate=use or RateUse(), **facts)


RUNNABLE: dict[str, tuple[TaskRecord, Facts]] = {
    "a due task and an idle executor": (sample(1), ADA),
    "a retry that is due": (sample(1, state=S.RETRYING), ADA),
    "an interrupted task": (sample(1, state=S.INTERRUPTED), ADA),
    "a suspended task whose time has come": (sample(1, state=S.SUSPENDED), ADA),
    "a task of an executor that is gone": (sample(1, state=S.RUNNING, due_at=None, executor="gone"), ADA),
    "a task whose owner's lease has ended": (
        sample(1, state=S.RUNNING, due_at=None, executor="late"),
        attrs.evolve(ADA, owner_until=NOW - SECOND),
    ),
    "one executor is full, another is not": (sample(1), Facts(live=[executor(running=10), executor("bob")])),
    "the queue's slots are not all taken": (
        sample(1),
        Facts(live=[executor(queue_running=1, terms=Terms(queue_slots={"default": 2}))]),
    ),
    "an executor that knows a newer version": (sample(1), Facts(live=[executor(tasks={"send": 2})])),
    "one executor allows more claims": (
        sample(1, stalls=6),
        Facts(live=[executor(), executor("bob", terms=Terms(stalls_max=7))]),
    ),
    "deadlines to come": (sample(1, deadline_at=SOON, start_by=SOON), ADA),
    "a queue with room": (sample(1), queue(concurrency=5)),
    "a lost task of a busy queue, which counts it already": (
        sample(1, state=S.RUNNING, due_at=None, executor="gone"),
        queue(concurrency=4),
    ),
    "limits that nobody has any more": (sample(1, limited_by=LimitKind.CONCURRENCY, concurrency_key="k"), ADA),
    "a limit that is younger than the task": (sample(1), limited(concurrency=ConcurrencyLimit(1), sharing=1)),
    "a start of a rate that has some left": (
        sample(1, rate_key="k"),
        limited(rate=HOURLY, use=RateUse(NOW + HOUR / 2)),
    ),
    "the start that its rate limit gave it": (
        sample(1, rate_key="k", limited_by=LimitKind.RATE, slot_at=NOW),
        limited(rate=HOURLY, use=RateUse(NOW, SOON)),
    ),
    "a share of a limit that has some left": (
        sample(1, concurrency_key="k"),
        limited(concurrency=ConcurrencyLimit(2), sharing=1),
    ),
    "the share of a task that is taken over is its own": (
        sample(1, state=S.RUNNING, due_at=None, executor="gone", concurrency_key="k"),
        limited(concurrency=ConcurrencyLimit(1), sharing=1),
    ),
    "a share that it was let in for": (
        sample(1, concurrency_key="k", limited_by=LimitKind.CONCURRENCY),
        limited(concurrency=ConcurrencyLimit(2), sharing=1, parked=(sample(2),)),
    ),
    "one executor knows of no limit": (
        sample(1, concurrency_key="k"),
        attrs.evolve(
            limited(concurrency=ConcurrencyLimit(1), sharing=1),
            live=[executor(terms=Terms(concurrency={"send": ConcurrencyLimit(1)})), executor("bob")],
        ),
    ),
}

GATED: dict[str, tuple[TaskRecord, Facts, list[Gate]]] = {
    "a completed task, whatever else": (
        sample(1, state=S.COMPLETED, due_at=None, finished_at=THEN, deadline_at=THEN),
        Facts(),
        [gates.Ended(S.COMPLETED, THEN)],
    ),
    "a quarantined task": (
        sample(1, state=S.QUARANTINED, due_at=None, crash=Crash(CrashKind.STALLED, "why")),
        last(HistoryKind.QUARANTINED, S.QUARANTINED, "why"),
        [gates.Quarantined(THEN, "why")],
    ),
    "a quarantined task without history": (
        sample(1, state=S.QUARANTINED, due_at=None, crash=Crash(CrashKind.STALLED, "why")),
        Facts(),
        [gates.Quarantined(None, "why")],
    ),
    "a running task": (
        sample(1, state=S.RUNNING, due_at=None, executor="bob", stalls=1),
        attrs.evolve(ADA, owner_until=NOW),
        [gates.ClaimedBy("bob", NOW)],
    ),
    "a running task that is being cancelled": (
        sample(1, state=S.RUNNING, due_at=None, executor="bob", cancel_requested_at=THEN, cancel_reason="no"),
        attrs.evolve(ADA, owner_until=NOW),
        [gates.ClaimedBy("bob", NOW), gates.CancelPending(THEN, "no")],
    ),
    "a lost task that is being cancelled": (
        sample(1, state=S.RUNNING, due_at=None, executor="bob", cancel_requested_at=THEN, cancel_reason="no"),
        ADA,
        [gates.OwnerLost("bob", None), gates.CancelPending(THEN, "no")],
    ),
    "a lost task that nobody knows": (
        sample(1, state=S.RUNNING, due_at=None, executor="bob"),
        Facts(owner_until=THEN),
        [gates.OwnerLost("bob", THEN), gates.NameUnregistered("send", 0)],
    ),
    "a deadline that has just passed": (sample(1, deadline_at=NOW), ADA, [gates.DeadlinePassed(NOW)]),
    "no claims left": (sample(1, stalls=5), ADA, [gates.StallsUsedUp(5)]),
    "suspended for its children": (
        sample(1, state=S.SUSPENDED, due_at=None, join=Join.ALL_FINISHED),
        attrs.evolve(ADA, children=ChildCount(unfinished=1, failed=2), awaited=(task_id(2),)),
        [gates.ChildrenAwaited(ChildCount(unfinished=1, failed=2), (task_id(2),))],
    ),
    "a group, which no executor takes": (
        sample(1, name=GROUP_NAME, state=S.SUSPENDED, due_at=None, join=Join.ALL_SUCCEEDED),
        Facts(children=ChildCount(unfinished=1), awaited=(task_id(2),)),
        [gates.ChildrenAwaited(ChildCount(unfinished=1), (task_id(2),))],
    ),
    "suspended for good": (sample(1, state=S.SUSPENDED, due_at=None), ADA, [gates.SuspendedUntil(None)]),
    "suspended for a time": (sample(1, state=S.SUSPENDED, due_at=SOON), ADA, [gates.SuspendedUntil(SOON)]),
    "suspended until an event": (
        sample(1, state=S.SUSPENDED, due_at=None, awaited_event="paid", awaited_key="7"),
        ADA,
        [gates.EventAwaited("paid", "7", None)],
    ),
    "suspended until an event, for a time": (
        sample(1, state=S.SUSPENDED, due_at=SOON, awaited_event="paid", awaited_key="7"),
        ADA,
        [gates.EventAwaited("paid", "7", SOON)],
    ),
    "suspended until an event, for too long": (
        sample(1, state=S.SUSPENDED, due_at=NOW, awaited_event="paid", awaited_key="7"),
        ADA,
        [],
    ),
    "enqueued for later": (sample(1, due_at=SOON), ADA, [gates.NotDue(SOON)]),
    "a retry to come": (
        sample(1, state=S.RETRYING, due_at=SOON),
        last(HistoryKind.RETRY_SCHEDULED, S.RETRYING, "ValueError: no"),
        [gates.BackingOff(SOON, "ValueError: no")],
    ),
    "a retry of which no history is kept": (
        sample(1, state=S.RETRYING, due_at=SOON, crash=Crash(CrashKind.EXCEPTION, "secret", "ValueError")),
        ADA,
        [gates.BackingOff(SOON, "ValueError")],
    ),
    "a retry after a typed error, whose payload is not shown": (
        sample(1, state=S.RETRYING, due_at=SOON, error_json=JsonText('"secret"')),
        ADA,
        [gates.BackingOff(SOON, "")],
    ),
    "given back undecodable": (
        sample(1, due_at=SOON, stalls=1),
        last(HistoryKind.RELEASED, S.PENDING, "metadata.page: expected int"),
        [gates.BackingOff(SOON, "metadata.page: expected int")],
    ),
    "enqueued for later after it was once given back": (
        sample(1, due_at=SOON),
        last(HistoryKind.RELEASED, S.PENDING, "metadata.page: expected int"),
        [gates.NotDue(SOON)],
    ),
    "a start that its rate limit gave it": (
        sample(1, due_at=SOON, limited_by=LimitKind.RATE, rate_key="k", slot_at=SOON),
        ADA,
        [gates.RateReached("k", SOON)],
    ),
    "parked by its concurrency limit": (
        sample(1, due_at=SOON, limited_by=LimitKind.CONCURRENCY, concurrency_key="k"),
        Facts(
            live=[executor(terms=Terms(concurrency={"send": ConcurrencyLimit(2)}))],
            sharing=2,
            sharers=(Sharer(task_id(2), "bob"),),
        ),
        [gates.ConcurrencyReached("k", 2, 2, (Sharer(task_id(2), "bob"),))],
    ),
    "a rate that is used up": (
        sample(1, rate_key="k"),
        limited(rate=HOURLY, use=RateUse(NOW + 2 * HOUR)),
        [gates.RateReached("k", NOW + HOUR)],
    ),
    "a rate that others wait for": (
        sample(1, rate_key="k"),
        limited(rate=HOURLY, use=RateUse(NOW + HOUR, SOON)),
        [gates.RateReached("k", SOON + HOUR)],
    ),
    "a rate that is used up beyond its horizon": (
        sample(1, rate_key="k"),
        limited(rate=HOURLY, use=RateUse(NOW + 9 * HOUR)),
        [gates.RateReached("k", None)],
    ),
    "a rate that is used up, and its definition does not wait": (
        sample(1, rate_key="k"),
        limited(rate=attrs.evolve(HOURLY, when_full=WhenFull.REJECT), use=RateUse(NOW + 9 * HOUR)),
        [gates.RateReached("k", None, ends=True)],
    ),
    "all shares are taken": (
        sample(1, concurrency_key="k"),
        limited(concurrency=ConcurrencyLimit(2), sharing=2, sharers=(Sharer(task_id(2), "bob"),)),
        [gates.ConcurrencyReached("k", 2, 2, (Sharer(task_id(2), "bob"),))],
    ),
    "the share that is left is promised to the line": (
        sample(1, concurrency_key="k"),
        limited(concurrency=ConcurrencyLimit(2), sharing=1, parked=(sample(2, due_at=SOON),)),
        [gates.ConcurrencyReached("k", 1, 2)],
    ),
    "all shares are taken, and its definition does not wait": (
        sample(1, concurrency_key="k"),
        limited(concurrency=ConcurrencyLimit(1, when_full=WhenFull.REJECT), sharing=1),
        [gates.ConcurrencyReached("k", 1, 1, ends=True)],
    ),
    "a start deadline that has passed": (sample(1, start_by=THEN), ADA, [gates.StartDeadlinePassed(THEN)]),
    "a paused queue": (
        sample(1),
        queue(paused_at=THEN, paused_reason="deploy"),
        [gates.QueuePaused("default", THEN, "deploy")],
    ),
    "a busy queue": (sample(1), queue(concurrency=4), [gates.QueueBusy("default", 4, 4)]),
    "nobody is there": (sample(1), Facts(), [gates.NameUnregistered("send", 0)]),
    "nobody registers it": (sample(1), Facts(live=[executor(tasks={"bill": 1})]), [gates.NameUnregistered("send", 1)]),
    "its version is too new for all": (
        sample(1, version=3),
        Facts(live=[executor(), executor("bob", tasks={"send": 2})]),
        [gates.VersionTooNew("send", 3, 2)],
    ),
    "who knows it serves another queue": (
        sample(1),
        Facts(live=[executor(queues=("bulk",)), executor("bob", tasks={})]),
        [gates.QueueUnserved("default", "send")],
    ),
    "who knows it is full, one of all tasks and one of this queue's": (
        sample(1),
        Facts(
            live=[
                executor(running=10),
                executor("bob", running=3, queue_running=2, terms=Terms(queue_slots={"default": 2})),
                executor("idle", tasks={}),
            ]
        ),
        [gates.ExecutorsFull((Load("ada", 10, 10), Load("bob", 2, 2)))],
    ),
    "several gates, from the task outward": (
        sample(1, due_at=SOON, deadline_at=NOW),
        Facts(queue=QueueSettings(name="default", paused_at=THEN)),
        [
            gates.DeadlinePassed(NOW),
            gates.NotDue(SOON),
            gates.QueuePaused("default", THEN, ""),
            gates.NameUnregistered("send", 0),
        ],
    ),
}


@pytest.mark.parametrize(("record", "facts"), RUNNABLE.values(), ids=RUNNABLE)
def test_a_task_that_only_needs_a_free_slot_has_no_gate(record: TaskRecord, facts: Facts) -> None:
    assert gates_of(record, facts, NOW) == ()


@pytest.mark.parametrize(("record", "facts", "expected"), GATED.values(), ids=GATED)
def test_what_keeps_a_task_from_running_is_told_in_order(
    record: TaskRecord, facts: Facts, expected: list[Gate]
) -> None:
    assert list(gates_of(record, facts, NOW)) == expected


def test_every_gate_comes_of_some_situation() -> None:
    told: Mapping[type[Gate], int] = {type(gate): 1 for _, _, expected in GATED.values() for gate in expected}
    assert set(told) == set(get_args(Gate))
