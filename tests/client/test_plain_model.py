"""Random programs of the public verbs on every store, compared after each step with plain dictionaries (`plain.py`).

The hands of an executor are the executor's own turn, taken without its loop, so that a program decides what runs do.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
from attrs import frozen
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from returns.result import Success as Ok

from milepost import (
    BlockingClient,
    KeyTaken,
    OnConflict,
    Retry,
    SeveralTasksFound,
    TaskId,
    TaskNotFound,
    TaskQuery,
    TaskRecord,
    TaskResult,
    TaskState,
    WrongState,
    task,
)
from milepost.crash import Crash, CrashKind
from milepost.executor.claiming import Demand
from milepost.executor.turn import Delivery, TurnPlan, take_turn
from milepost.lifecycle import events
from milepost.lifecycle.events import Event
from milepost.lifecycle.invariants import violations
from milepost.payload import JsonText
from milepost.stores.protocol import Session
from milepost.testing.conformance.kit import sample_lease
from tests.client.plain import FINAL, LIVE, RETRIES_MAX, Plain, PlainTask

pytestmark = pytest.mark.slow

HOUR: Final = timedelta(hours=1)
EXECUTORS: Final = ("ada", "bob")
PICKS = st.integers(0, 30)
STEPS = st.integers(0, 3)
FLOORS: Final = {
    "enqueued": 50, "joined": 3, "key refused": 3, "replaced": 2, "claimed": 50, "taken over": 2, "stale": 10,
    "committed": 10, "suspended": 10, "proceeded": 2, "proceed kept": 2, "cancelled": 5, "cancel asked": 2,
    "requeued": 5, "deleted": 5, "refused": 10, "paused": 5, "reopened": 3, "by query": 2, "changed at once": 2,
}  # fmt: skip


@frozen
class Order:
    number: int


@frozen
class Step:
    at: int = 0


def _body(metadata: Order, step: Step) -> TaskResult[int, str, Step]:
    raise AssertionError(f"the program says what a run does, not the function, {metadata} {step}")


_AGAIN = Retry.fixed(RETRIES_MAX, timedelta(0))
bill = task(name="bill", retry=_AGAIN)(_body)
send = task(name="send", retry=_AGAIN)(_body)
TASKS: Final = {each.name: each for each in (bill, send)}


def _has_tasks(machine: Verbs) -> bool:
    return bool(machine.plain.tasks)


def _has_live(machine: Verbs) -> bool:
    return any(each.state in LIVE for each in machine.plain.tasks.values())


def _has_ended(machine: Verbs) -> bool:
    return any(each.state in FINAL for each in machine.plain.tasks.values())


def _has_work(machine: Verbs) -> bool:
    return bool(machine.plain.claimable() or machine.plain.orphans(machine.dead))


def _may_run(machine: Verbs) -> bool:
    return any(machine.plain.running()) or _has_work(machine)


class Verbs(RuleBasedStateMachine):
    """One store, its client, two executors' hands, and the model."""

    url: str
    seen: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.place = self.url.format(folder=self.folder.name, name=Path(self.folder.name).name)
        self.client = BlockingClient.connect(self.place)
        if self.place.startswith("postgres"):  # a database that the program before has used
            self.client.store.transact_blocking(_empty)
        self.plain = Plain()
        self.dead: set[str] = set()
        self.records: dict[TaskId, TaskRecord] = {}
        self.earlier: list[TaskRecord] = []
        for executor in EXECUTORS:
            self.announce(executor)

    def teardown(self) -> None:
        self.client.close()
        self.folder.cleanup()

    def announce(self, executor: str) -> None:
        self.client.store.transact_blocking(
            lambda session: session.open_lease(sample_lease(executor, session.now() + HOUR))
        )

    @initialize(names=st.lists(st.sampled_from(sorted(TASKS)), min_size=2, max_size=4), start=STEPS)
    def begin(self, names: list[str], start: int) -> None:
        for name in names:
            self.enqueue_one(name, None, OnConflict.KEEP, "default", 0, 0, start, 1)

    # What a program asks

    @rule(
        name=st.sampled_from(sorted(TASKS)), key=st.sampled_from([None, "a", "a", "b"]),
        policy=st.sampled_from(OnConflict), queue=st.sampled_from(["default", "slow"]), priority=st.integers(0, 2),
        number=STEPS, start=STEPS, waits=st.integers(0, 3),
    )  # fmt: skip
    def enqueue(
        self, name: str, key: str | None, policy: OnConflict, queue: str, priority: int, number: int, start: int,
        waits: int,
    ) -> None:  # fmt: skip
        self.enqueue_one(name, key, policy, queue, priority, number, start, waits)

    def enqueue_one(
        self, name: str, key: str | None, policy: OnConflict, queue: str, priority: int, number: int, start: int,
        waits: int,
    ) -> None:  # fmt: skip
        request = TASKS[name].with_metadata(Order(number)).with_execution_metadata(Step(start))
        request = request.in_queue(queue).with_priority(priority)
        request = request.after(HOUR) if waits == 0 else request
        request = request if key is None else request.with_key(key, policy)
        answer = self.client.try_enqueue(request)
        holder = self.plain.holder(name, key)
        id = answer.unwrap().id if isinstance(answer, Ok) else ""
        new = PlainTask(id, name, key, queue, priority, {"number": number}, {"at": start}, is_due=waits != 0)
        match self.plain.enqueue(new, policy.value):
            case "new":
                assert answer.unwrap().created
                self.seen["replaced" if holder is not None else "enqueued"] += 1
            case "kept":
                assert holder is not None
                assert (answer.unwrap().id, answer.unwrap().created) == (holder.id, False)
                self.seen["joined"] += 1
            case _:
                assert holder is not None
                assert answer.failure() == KeyTaken(name, key or "", TaskId(holder.id))
                self.seen["key refused"] += 1

    @precondition(_has_tasks)
    @rule(pick=PICKS)
    def cancel(self, pick: int) -> None:
        if each := self.pick(pick):
            answer = self.client.cancel(TaskId(each.id), reason="enough")
            expected = self.plain.cancel(each)
            if self.agree_on_refusal(answer, expected):
                assert answer.unwrap().state.value == expected
                self.seen["cancel asked" if expected == "running" else "cancelled"] += 1

    @precondition(_has_ended)
    @rule(pick=PICKS, from_start=st.booleans())
    def requeue(self, pick: int, from_start: bool) -> None:
        if each := self.pick(pick, *FINAL, "running"):
            answer = self.client.requeue(TaskId(each.id), from_start=from_start)
            holder = self.plain.holder(each.name, each.key)
            expected = self.plain.requeue(each, from_start=from_start)
            if expected == "taken":
                assert holder is not None
                assert answer.failure() == KeyTaken(each.name, each.key or "", TaskId(holder.id))
            elif self.agree_on_refusal(answer, expected):
                self.seen["requeued"] += 1

    @precondition(_has_tasks)
    @rule(pick=PICKS)
    def delete(self, pick: int) -> None:
        if each := self.pick(pick, *FINAL, "running", "suspended"):
            answer = self.client.delete(TaskId(each.id))
            if self.agree_on_refusal(answer, self.plain.delete(each)):
                assert self.client.get(TaskId(each.id)).failure() == TaskNotFound(TaskId(each.id))
                self.seen["deleted"] += 1

    @precondition(_has_live)
    @rule(pick=PICKS, to=st.none() | STEPS)
    def proceed(self, pick: int, to: int | None) -> None:
        if each := self.pick(pick, *LIVE):
            answer = self.client.proceed(TaskId(each.id), modify=None if to is None else partial(_moved, to))
            expected = self.plain.proceed(each, None if to is None else {"at": to})
            if self.agree_on_refusal(answer, expected):
                self.seen["proceed kept" if expected == "kept" else "proceeded"] += 1

    @precondition(_has_live)
    @rule(pick=PICKS, at=STEPS, misses=st.booleans())
    def proceed_by_query(self, pick: int, at: int, misses: bool) -> None:
        each = self.pick(pick, *LIVE)
        assert each is not None
        sought = (each.name, each.metadata, {"at": at} if misses else each.progress)
        query = TaskQuery.for_task(TASKS[each.name]).with_metadata(**each.metadata)
        answer = self.client.proceed(query.with_execution_metadata(Step(**sought[2])))
        live = (each for each in self.plain.tasks.values() if each.state in LIVE)
        found = [each for each in live if (each.name, each.metadata, each.progress) == sought]
        if not found:
            assert isinstance(answer.failure(), TaskNotFound)
        elif len(found) > 1:
            assert isinstance(answer.failure(), SeveralTasksFound)
        else:
            self.agree_on_refusal(answer, self.plain.proceed(found[0], None))
            self.seen["by query"] += 1

    @rule(name=st.sampled_from(sorted(TASKS)), verb=st.sampled_from(["cancel", "requeue", "delete"]))
    def change_many(self, name: str, verb: str) -> None:
        query = TaskQuery.for_task(TASKS[name]).with_metadata(number=0)
        chosen = [each for each in self.plain.tasks.values() if (each.name, each.metadata) == (name, {"number": 0})]
        answers: list[str]
        match verb:
            case "cancel":
                summary = self.client.cancel_all(query, reason="enough", by="ops")
                answers = [self.plain.cancel(each) for each in chosen]
            case "requeue":
                summary = self.client.requeue_all(query, by="ops")
                answers = [self.plain.requeue(each, from_start=False) for each in chosen]
            case _:
                summary = self.client.delete_all(query, by="ops")
                answers = [self.plain.delete(each) for each in chosen]
        changed = len(answers) - answers.count("refused") - answers.count("taken")
        assert (summary.matched, summary.changed) == (len(chosen), changed)
        assert sum(summary.refused.values()) == len(chosen) - changed
        self.seen["changed at once"] += changed > 1

    @rule(queue=st.sampled_from(["default", "slow"]), pause=st.booleans())
    def pause_or_resume(self, queue: str, pause: bool) -> None:
        if pause:
            self.client.pause_queue(queue)
            self.plain.paused.add(queue)
            self.seen["paused"] += 1
        else:
            self.client.resume_queue(queue)
            self.plain.paused.discard(queue)

    @rule(states=st.lists(st.sampled_from(TaskState), min_size=1, max_size=3, unique=True), at=STEPS)
    def look(self, states: list[TaskState], at: int) -> None:
        query = TaskQuery().with_state(*states).with_execution_metadata(at=at)
        wanted = {state.value for state in states}
        found = {each.id for each in self.plain.tasks.values() if each.state in wanted and each.progress == {"at": at}}
        assert {record.id for record in self.client.search(query).records} == found
        assert self.client.count(query) == len(found)

    @rule(seldom=st.integers(0, 5))
    def reopen(self, seldom: int) -> None:
        if seldom == 0 and not self.place.startswith("memory"):
            self.client.close()
            self.client = BlockingClient.connect(self.place)
            self.seen["reopened"] += 1

    # What executors do

    @precondition(_has_work)
    @rule(executor=st.sampled_from(EXECUTORS), limit=st.sampled_from([1, 2, 50]))
    def claim(self, executor: str, limit: int) -> None:
        claimed = self.turn(executor, limit=limit)
        if executor in self.dead:
            assert claimed == []
            return
        taken = {record.id for record in claimed}
        due, orphans = self.plain.claimable(), self.plain.orphans(self.dead)
        everybody = {each.id for each in (*due, *orphans)}
        assert taken <= everybody
        assert len(taken) >= min(limit, len(everybody)) or self.expired_share_left_room(limit, taken)
        left = [each.priority for each in due if each.id not in taken]
        for queue in ("default", "slow"):
            inside = [each for each in due if each.queue == queue]
            left = [each.priority for each in inside if each.id not in taken]
            assert all(each.priority >= max(left, default=0) for each in inside if each.id in taken)
        for each in list(self.plain.tasks.values()):
            if each.id in taken:
                self.seen["taken over" if each.owner else "claimed"] += 1
                self.plain.claim(each, executor)
                if each.cancel_asked:
                    self.plain.end(each, "cancelled")

    def expired_share_left_room(self, limit: int, taken: set[TaskId]) -> bool:
        """Of a limit above the number of due tasks at most half may be what dead executors left behind."""
        orphans = {each.id for each in self.plain.orphans(self.dead)}
        return len(orphans & taken) >= (limit + 1) // 2

    @precondition(_may_run)
    @rule(pick=PICKS, to=STEPS)
    def commit(self, pick: int, to: int) -> None:
        if each := self.hand_in(pick, events.Committed(_step(to))):
            self.plain.commit(each, {"at": to})
            self.seen["committed"] += 1

    @precondition(_may_run)
    @rule(pick=PICKS)
    def succeed(self, pick: int) -> None:
        if each := self.hand_in(pick, events.Succeeded(JsonText("1"))):
            self.plain.end(each, "completed")

    @precondition(_may_run)
    @rule(pick=PICKS)
    def give_up(self, pick: int) -> None:
        if each := self.hand_in(pick, events.GaveUp(JsonText('"no"'))):
            self.plain.end(each, "cancelled")

    @precondition(_may_run)
    @rule(pick=PICKS, to=st.none() | STEPS, wake=st.sampled_from(["never", "in an hour", "at once"]))
    def suspend(self, pick: int, to: int | None, wake: str) -> None:
        until = HOUR if wake == "in an hour" else None
        event = events.Suspended(None if to is None else _step(to), until, at_once=wake == "at once")
        if each := self.hand_in(pick, event):
            progress = None if to is None else {"at": to}
            self.plain.suspend(each, progress, at_once=wake == "at once", in_an_hour=until is not None)
            self.seen["suspended"] += 1

    @precondition(_may_run)
    @rule(pick=PICKS, retryable=st.booleans(), crashes=st.booleans())
    def fail(self, pick: int, retryable: bool, crashes: bool) -> None:
        crash = events.Crashed(Crash(CrashKind.EXCEPTION, "boom"), retryable=retryable)
        if each := self.hand_in(pick, crash if crashes else events.Failed(JsonText('"no"'), retryable=retryable)):
            self.plain.fail(each, retryable=retryable)

    @precondition(_may_run)
    @rule(pick=PICKS)
    def interrupt(self, pick: int) -> None:
        if each := self.hand_in(pick, events.Interrupted()):
            self.plain.interrupt(each)

    @precondition(lambda machine: any(machine.plain.running()))
    @rule(pick=PICKS)
    def kill(self, pick: int) -> None:
        each = self.pick(pick, "running")
        assert each is not None
        assert each.owner is not None
        mates = [other for other in self.plain.running() if other.owner == each.owner]
        # From the third claim without progress on a task is run alone, and given back for a while where it cannot be.
        if each.owner not in self.dead and all(other.unproductive <= 1 for other in mates):
            self.dead.add(each.owner)
            self.client.store.transact_blocking(lambda session: session.close_lease(each.owner or ""))
            for heir in sorted(set(EXECUTORS) - self.dead):
                self.claim(heir, 50)

    @precondition(lambda machine: bool(machine.dead))
    @rule()
    def revive(self) -> None:
        executor = self.dead.pop()
        self.announce(executor)  # and it still owns what nobody has taken over

    @precondition(lambda machine: bool(machine.earlier))
    @rule(pick=PICKS, to=STEPS)
    def write_too_late(self, pick: int, to: int) -> None:
        if self.earlier:
            record = self.earlier[pick % len(self.earlier)]
            now = self.records.get(record.id)
            if now is None or now.token != record.token or now.state is not TaskState.RUNNING:
                assert self.deliver(record, events.Succeeded(_step(to))) in (None, now)
                self.seen["stale"] += 1

    @invariant()
    def the_client_sees_what_the_model_says(self) -> None:
        found = {record.id: record for record in self.client.search(TaskQuery().with_page_size(1_000)).records}
        assert {id: _seen(record) for id, record in found.items()} == {
            id: each.seen() for id, each in self.plain.tasks.items()
        }
        assert [message for record in found.values() for message in violations(record)] == []
        self.earlier += [record for record in found.values() if record.state is TaskState.RUNNING][:2]
        self.records = dict(found)

    # Hands

    def pick(self, number: int, *states: str) -> PlainTask | None:
        tasks = [each for each in self.plain.tasks.values() if not states or each.state in states]
        return tasks[number % len(tasks)] if tasks else None

    def hand_in(self, pick: int, event: Event) -> PlainTask | None:
        """Let a running task hand in `event`, whoever runs it; its claim holds until somebody has taken it over."""
        # Programs in which nobody happens to claim would show little: where nothing runs, somebody does so first.
        if not any(self.plain.running()):
            for executor in sorted(set(EXECUTORS) - self.dead)[:1]:
                self.claim(executor, 50)
        each = self.pick(pick, "running")
        if each is None:
            return None
        assert self.deliver(self.client.get(TaskId(each.id)).unwrap(), event) is not None
        return each

    def deliver(self, record: TaskRecord, event: Event) -> TaskRecord | None:
        delivery = Delivery(record, event, TASKS[record.name].policy)
        receipt = self.client.store.transact_blocking(lambda session: take_turn(session, self.plan("hand", delivery)))
        return receipt.written[0]

    def turn(self, executor: str, *, limit: int) -> list[TaskRecord]:
        def take(session: Session) -> list[TaskRecord]:
            receipt = take_turn(session, self.plan(executor, demand=Demand(limit, None)))
            return [*receipt.claimed, *(ended.after for ended in receipt.ended)]

        return self.client.store.transact_blocking(take)

    def plan(self, executor: str, *deliveries: Delivery, demand: Demand | None = None) -> TurnPlan:
        return TurnPlan(
            executor=executor,
            names={name: each.version for name, each in TASKS.items()},
            policies={name: each.policy for name, each in TASKS.items()},
            deliveries=deliveries,
            demand=demand,
            renew=demand is not None,
            lease_seconds=HOUR.total_seconds(),
        )

    def agree_on_refusal(self, answer: Any, expected: str) -> bool:
        """Whether the verb was carried out; a refusal must be the model's too."""
        if expected != "refused":
            assert isinstance(answer, Ok), answer
            return True
        assert isinstance(answer.failure(), WrongState)
        self.seen["refused"] += 1
        return False


def _empty(session: Session) -> None:
    tables = session.transaction.execute(
        "select format('%I.%I', schemaname, tablename) from pg_tables"
        " where schemaname = 'milepost' and tablename <> 'milepost_schema'"
    )
    session.transaction.execute(f"truncate {', '.join(name for (name,) in tables)}")


def _moved(to: int, _: Any) -> Any:
    return {"at": to}


def _step(at: int) -> JsonText:
    return JsonText(f'{{"at":{at}}}')


def _seen(record: TaskRecord) -> dict[str, Any]:
    return {
        "state": record.state.value,
        "metadata": record.metadata,
        "execution_metadata": record.execution_metadata,
        "attempt": record.attempt,
        "commits": record.sequence,
        "epoch": record.epoch,
        "cancel_asked": record.cancel_requested_at is not None and record.state is TaskState.RUNNING,
        "proceed_kept": record.early_proceed_at is not None,
    }


def test_a_program_on_the_memory_store_does_what_the_model_says() -> None:
    _run("memory:", examples=300)


def test_a_program_on_sqlite_does_what_the_model_says() -> None:
    _run("sqlite:///{folder}/tasks.db", examples=150)


def test_a_program_on_postgres_does_what_the_model_says(postgres_url: str) -> None:
    _run(postgres_url, examples=150)


def _run(url: str, *, examples: int) -> None:
    seen: Counter[str] = Counter()
    machine = type("Machine", (Verbs,), {"url": url, "seen": seen})
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=50, deadline=None))
    # A program in which nothing happens agrees too.
    floors = {what: count for what, count in FLOORS.items() if what != "reopened" or not url.startswith("memory")}
    assert {what: (seen[what], floor) for what, floor in floors.items() if seen[what] < floor} == {}
