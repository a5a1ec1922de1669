"""A task that is cut everywhere and resumed: planted bugs are found, their fixed versions pass, whatever the shape."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Never, TypeAlias

import pytest
import trio
from attrs import define, field, frozen
from returns.result import Failure as Refused
from returns.result import Result
from returns.result import Success as Done

from milepost import (
    BlockingExecution,
    Cancellation,
    ConfigurationError,
    CrashKind,
    Empty,
    Execution,
    Failure,
    NamedEvent,
    Next,
    Retry,
    StateMachine,
    Statement,
    Success,
    Suspended,
    Task,
    TaskDefinitionError,
    TaskResult,
    Transaction,
    saga,
    task,
)
from milepost.testing import EVERY_CHECKPOINT, CrashReport, CutAt, crash_matrix


@frozen
class Names:
    names: tuple[str, ...]


@frozen
class Sent:
    count: int = 0


@define
class Mailbox:
    """What a task does outside: letters that arrive, once for each key where one is given."""

    letters: list[str] = field(factory=list[str])
    keys: set[str] = field(factory=set[str])
    notes: list[str] = field(factory=list[str])

    def send(self, name: str, key: str | None = None) -> None:
        if key is not None and key in self.keys:
            return
        self.keys |= {key} if key is not None else set()
        self.letters.append(name)


PEOPLE = Names(("ada", "grace", "joan"))
Sending: TypeAlias = Task[Names, Sent, int, str]
Make: TypeAlias = Callable[[Mailbox], Sending]


def seen(mailbox: Mailbox) -> list[str]:
    return mailbox.letters


async def matrix_of(make: Make, **options: Any) -> CrashReport:
    return await crash_matrix(make, PEOPLE, world=Mailbox, observe=seen, **options)


def places(report: CrashReport) -> list[tuple[CutAt, int]]:
    return [(each.cut.at, each.cut.commit) for each in report.differences if each.cut is not None]


# Planted bugs, and what mends them


def sending_before_the_commit(mailbox: Mailbox) -> Sending:
    @task(name="send")
    async def send(people: Names, sent: Sent, execution: Execution[Sent]) -> TaskResult[int, str]:
        for count in range(sent.count, len(people.names)):
            mailbox.send(people.names[count])
            await execution.commit(Sent(count + 1))
        return Success.with_result(len(people.names))

    return send


def sending_with_a_key(mailbox: Mailbox) -> Sending:
    @task(name="send")
    async def send(people: Names, sent: Sent, execution: Execution[Sent]) -> TaskResult[int, str]:
        for count in range(sent.count, len(people.names)):
            mailbox.send(people.names[count], execution.idempotency_key)
            await execution.commit(Sent(count + 1))
        return Success.with_result(len(people.names))

    return send


def committing_early(mailbox: Mailbox) -> Sending:
    @task(name="send")
    async def send(people: Names, sent: Sent, execution: Execution[Sent]) -> TaskResult[int, str]:
        for count in range(sent.count, len(people.names)):
            await execution.commit(Sent(count + 1))
            mailbox.send(people.names[count], execution.idempotency_key)
        return Success.with_result(len(people.names))

    return send


def sending_all_without_a_commit(mailbox: Mailbox) -> Sending:
    @task(name="send")
    async def send(people: Names, sent: Sent) -> TaskResult[int, str]:
        for name in people.names:
            mailbox.send(name)
        return Success.with_result(len(people.names))

    return send


def sending_all_by_name(mailbox: Mailbox) -> Sending:
    @task(name="send")
    async def send(people: Names, sent: Sent) -> TaskResult[int, str]:
        for name in people.names:
            mailbox.send(name, name)
        return Success.with_result(len(people.names))

    return send


async def test_an_effect_before_its_commit_and_without_a_key_is_found_where_it_happens_twice() -> None:
    report = await matrix_of(sending_before_the_commit)
    assert places(report) == [(CutAt.BEFORE_COMMIT, number) for number in (1, 2, 3)]
    second = report.differences[1]
    assert (second.what, second.uncut) == ("observation", ["ada", "grace", "joan"])
    assert second.after_cut == ["ada", "grace", "grace", "joan"]
    assert (second.more, second.missing) == (("'grace'",), ())
    assert second.cut is not None
    assert second.cut.execution_metadata == Sent(2)
    assert second.cut.line.endswith("await execution.commit(Sent(count + 1))")
    assert (await matrix_of(sending_with_a_key)).differences == ()


async def test_progress_that_is_saved_early_is_found_where_something_is_left_out() -> None:
    report = await matrix_of(committing_early)
    assert places(report) == [(CutAt.AFTER_COMMIT, number) for number in (1, 2, 3)]
    assert [each.missing for each in report.differences] == [("'ada'",), ("'grace'",), ("'joan'",)]


async def test_a_call_that_is_not_idempotent_is_found_though_nothing_is_ever_committed() -> None:
    report = await matrix_of(sending_all_without_a_commit)
    assert places(report) == [(CutAt.BEFORE_RESULT, 0)]
    assert report.differences[0].after_cut == ["ada", "grace", "joan"] * 2
    assert (await matrix_of(sending_all_by_name)).differences == ()


async def test_the_report_counts_and_tells_in_a_text_what_was_found_and_what_to_do() -> None:
    report = await matrix_of(sending_before_the_commit)
    assert (report.task, report.cuts, report.commits) == ("send", 7, 3)
    assert (report.outcome, report.observation) == (Success.with_result(3), ["ada", "grace", "joan"])
    head, _, *rest = report.splitlines()
    assert head == "'send' does not survive: cut at 7 places, it ended otherwise after 3 of them."
    assert rest[:5] == [
        "  uncut        Success(result=3)",
        "  commit 1     Sent(count=1)  before DIFFERS  after ok",
        "  commit 2     Sent(count=2)  before DIFFERS  after ok",
        "  commit 3     Sent(count=3)  before DIFFERS  after ok",
        "  result                      before ok",
    ]
    assert "    more     'ada'" in rest
    assert "  likewise 2 times more, at commit 2, 3" in rest
    assert "execution.idempotency_key" in report
    assert str(await matrix_of(sending_with_a_key)).startswith("'send' survives: cut at each of 7 places")


# Every shape


def blocking(mailbox: Mailbox) -> Sending:
    @task(name="send", blocking=True)
    def send(people: Names, sent: Sent, execution: BlockingExecution[Sent]) -> TaskResult[int, str]:
        for count in range(sent.count, len(people.names)):
            name = people.names[count]

            def effect(name: str = name) -> Result[None, str]:
                mailbox.send(name, execution.idempotency_key)
                return Done(None)

            execution.commit_after(effect, Sent(count + 1))
            execution.report(0.5)
            execution.log.info("sent")
        return Success.with_result(len(people.names))

    return send


def blocking_without_a_key(mailbox: Mailbox) -> Sending:
    @task(name="send", blocking=True)
    def send(people: Names, sent: Sent, execution: BlockingExecution[Sent]) -> TaskResult[int, str]:
        for count in range(sent.count, len(people.names)):
            mailbox.send(people.names[count])
            execution.commit(Sent(count + 1))
        return Success.with_result(len(people.names))

    return send


def step_by_step(mailbox: Mailbox) -> Task[Names, Sent, int, str]:
    @task(name="send")
    def send(people: Names, sent: Sent) -> TaskResult[int, str, Sent]:
        if sent.count == len(people.names):
            return Success.with_result(sent.count)
        mailbox.send(people.names[sent.count], f"{sent.count}")
        return Suspended(Sent(sent.count + 1)).after(timedelta(days=3))

    return send


def step_by_step_without_a_key(mailbox: Mailbox) -> Task[Names, Sent, int, str]:
    @task(name="send", cpu_bound=True)
    def send(people: Names, sent: Sent) -> TaskResult[int, str, Sent]:
        if sent.count == len(people.names):
            return Success.with_result(sent.count)
        mailbox.send(people.names[sent.count])
        return Suspended(Sent(sent.count + 1))

    return send


@pytest.mark.slow
async def test_a_blocking_task_is_cut_around_its_effects_and_commits() -> None:
    report = await matrix_of(blocking)
    assert report.differences == (), report
    assert (report.cuts, report.commits) == (3 * 3 + 1, 3)
    assert places(await matrix_of(blocking_without_a_key)) == [(CutAt.BEFORE_COMMIT, each) for each in (1, 2, 3)]


async def test_a_pure_task_that_suspends_for_days_or_until_somebody_proceeds_it_is_cut_around_each_step() -> None:
    report = await matrix_of(step_by_step)
    assert report.differences == (), report
    assert (report.cuts, report.commits, report.outcome) == (3 * 2 + 1, 0, Success.with_result(3))
    twice = await matrix_of(step_by_step_without_a_key)
    assert places(twice) == [(CutAt.BEFORE_RESULT, 0)] * 3
    assert [each.more for each in twice.differences] == [("'ada'",), ("'grace'",), ("'joan'",)]


async def test_an_effect_of_commit_after_is_cut_before_it_and_between_it_and_its_commit() -> None:
    def make(mailbox: Mailbox) -> Sending:
        @task(name="send")
        async def send(people: Names, sent: Sent, execution: Execution[Sent]) -> TaskResult[int, str]:
            async def effect() -> Result[int, str]:
                await trio.sleep(86_400)
                mailbox.send(people.names[0])
                return Done(1)

            async def failing() -> Result[int, str]:
                mailbox.send(people.names[1])
                return Refused("closed")

            if sent.count == 0:
                await execution.commit_after(effect, Sent)
            refused = await execution.commit_after(failing, Sent(2))
            return Failure.with_error(refused.failure())

        return send

    report = await matrix_of(make)
    assert report.outcome == Failure.with_error("closed")
    assert [each.cut.at for each in report.differences if each.cut is not None] == [
        CutAt.BEFORE_COMMIT,
        CutAt.AFTER_EFFECT,
        CutAt.BEFORE_RESULT,
    ]
    assert (report.cuts, report.commits) == (6, 1)


INSERT = "insert into letter values (?)"


def writing(names: Names, sent: Sent, execution: Execution[Sent]) -> Callable[[int], Any]:
    def insert(count: int) -> Any:
        def effect(transaction: Transaction) -> Result[int, str]:
            transaction.execute(INSERT, (names.names[count],))
            return Done(count + 1)

        return execution.commit_with(effect, Sent)

    return insert


@task(name="send")
async def writing_with_its_progress(people: Names, sent: Sent, execution: Execution[Sent]) -> TaskResult[int, str]:
    for count in range(sent.count, len(people.names)):
        await writing(people, sent, execution)(count)
    return Success.with_result(3).with_effects(Statement.many(INSERT, [("end",), ("of file",)]))


@task(name="send")
async def forgetting_its_progress(people: Names, sent: Sent, execution: Execution[Sent]) -> TaskResult[int, str]:
    for count in range(len(people.names)):
        await writing(people, sent, execution)(count)
    return Success.with_result(3)


async def test_statements_are_compared_where_there_is_no_database() -> None:
    report = await matrix_of(lambda _: writing_with_its_progress)
    assert report.differences == (), report
    assert report.cuts == 3 * 3 + 1
    twice = await matrix_of(lambda _: forgetting_its_progress)
    assert places(twice)[0] == (CutAt.AFTER_COMMIT, 1)
    assert twice.differences[0].what == "statements"
    assert twice.differences[0].more == (repr(Statement(INSERT, ("ada",))),)


def letter_database() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.execute("create table letter (name text)")
    return connection


@pytest.mark.parametrize(("body", "survives"), [(writing_with_its_progress, True), (forgetting_its_progress, False)])
async def test_statements_run_in_a_database_of_the_world_and_what_was_not_committed_is_undone(
    body: Sending, survives: bool
) -> None:
    report = await crash_matrix(
        lambda _: body,
        PEOPLE,
        world=letter_database,
        observe=lambda database: database.execute("select name from letter order by rowid").fetchall(),
        connection=lambda database: database,
    )
    assert (report.differences == ()) is survives, report
    assert {each.what for each in report.differences} <= {"observation"}


def follow_up_of(mailbox: Mailbox, *, keyed: bool) -> Task[Names, Sent, int, str]:
    @task(name="letter")
    async def letter(name: str, _: Empty, execution: Execution[Empty]) -> TaskResult[int, str]:
        mailbox.send(name, execution.idempotency_key if keyed else None)
        return Success.with_result(1)

    @task(name="send")
    async def send(people: Names, sent: Sent, execution: Execution[Sent]) -> TaskResult[int, str, Sent]:
        if execution.children:
            done = sum(isinstance(outcome, Success) for outcome in execution.children.of(letter))
            return Success.with_result(done).then_enqueue(letter.with_metadata("postmaster"))
        return Suspended(Sent(1)).then_enqueue(*map(letter.with_metadata, people.names)).until_finished()

    return send


@pytest.mark.slow
async def test_children_and_follow_ups_are_run_and_cut_as_well() -> None:
    report = await matrix_of(lambda mailbox: follow_up_of(mailbox, keyed=True))
    assert report.differences == (), report
    assert report.outcome == Success.with_result(3)
    assert report.observation == ["ada", "grace", "joan", "postmaster"]
    twice = await matrix_of(lambda mailbox: follow_up_of(mailbox, keyed=False))
    assert [each.more for each in twice.differences] == [("'ada'",), ("'grace'",), ("'joan'",), ("'postmaster'",)]
    assert {each.cut.task for each in twice.differences if each.cut is not None} == {"letter"}


async def test_a_state_machine_is_cut_around_each_of_its_states() -> None:
    @frozen
    class Writing:
        left: int = 3

    @frozen
    class Posting:
        pass

    def make(mailbox: Mailbox) -> Task[Names, Writing | Posting, int, Never]:
        def on_writing(people: Names, state: Writing) -> Next[Writing | Posting, int, Never]:
            mailbox.send(people.names[-state.left], str(state))
            return Next.state(Writing(state.left - 1) if state.left > 1 else Posting())

        async def on_posting(people: Names, state: Posting) -> TaskResult[int, Never]:
            mailbox.send("all")
            return Success.with_result(1)

        machine = StateMachine.for_states(Writing | Posting).for_metadata(Names).for_result(int).for_error(Never)
        return machine.with_handler(Writing, on_writing).with_handler(Posting, on_posting).build(name="letters")

    report = await crash_matrix(make, PEOPLE, world=Mailbox, observe=seen, execution_metadata=Writing())
    assert places(report) == [(CutAt.BEFORE_RESULT, 3)]
    assert report.differences[0].more == ("'all'",)
    assert report.commits == 3


def trip_of(mailbox: Mailbox, *, keyed: bool) -> Task[Names, Any, Any, Any]:
    @task(name="flight")
    async def flight(people: Names, _: Empty, execution: Execution[Empty]) -> TaskResult[int, str]:
        mailbox.send("flight", execution.idempotency_key if keyed else None)
        return Success.with_result(len(people.names))

    @task(name="hotel")
    async def hotel(people: Names, _: Empty, execution: Execution[Empty]) -> TaskResult[int, str]:
        mailbox.send("hotel", execution.idempotency_key)
        return Failure.with_error("full")

    @task(name="cancel-flight")
    async def cancel_flight(seats: int, _: Empty, execution: Execution[Empty]) -> TaskResult[int, str]:
        mailbox.send("cancelled", execution.idempotency_key)
        return Success.with_result(seats)

    begun = saga(Names).step(flight, lambda people, done: people).undo(cancel_flight, lambda people, seats: seats)
    return begun.step(hotel, lambda people, done: people).build(name="trip")


@pytest.mark.slow
async def test_a_saga_is_cut_around_each_of_its_steps_and_of_what_undoes_them() -> None:
    report = await matrix_of(lambda mailbox: trip_of(mailbox, keyed=True))
    assert report.differences == (), report
    assert report.observation == ["flight", "hotel", "cancelled"]
    assert report.cuts > 10
    (twice,) = (await matrix_of(lambda mailbox: trip_of(mailbox, keyed=False))).differences
    assert (twice.cut and twice.cut.task, twice.more) == ("flight", ("'flight'",))


async def test_whoever_waits_for_an_event_goes_on_without_it() -> None:
    paid = NamedEvent("paid", int)

    def make(mailbox: Mailbox) -> Sending:
        @task(name="send")
        async def send(people: Names, sent: Sent, execution: Execution[Sent]) -> TaskResult[int, str, Sent]:
            if sent.count:
                return Success.with_result(execution.received(paid) or 0)
            return Suspended(Sent(1)).until_event(paid, "order", within=timedelta(days=7))

        return send

    report = await matrix_of(make)
    assert report.differences == (), report
    assert (report.outcome, report.cuts) == (Success.with_result(0), 3)


# Dead is dead


async def test_nothing_of_a_dead_process_runs_any_more() -> None:
    def make(mailbox: Mailbox) -> Sending:
        async def beside() -> None:
            for hour in range(10):
                await trio.sleep(3_600)
                mailbox.notes.append(f"{hour}")

        @task(name="send")
        async def send(people: Names, sent: Sent, execution: Execution[Sent]) -> TaskResult[int, str]:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(beside)
                    await trio.sleep(1)
                    await execution.commit(Sent(1))
                    nursery.cancel_scope.cancel()
            except BaseException:
                mailbox.send("except")
                raise
            finally:
                mailbox.send("finally")
            return Success.with_result(1)

        return send

    report = await crash_matrix(
        make, PEOPLE, world=Mailbox, observe=lambda mailbox: (mailbox.letters, mailbox.notes), cuts=EVERY_CHECKPOINT
    )
    assert {each.cut.at for each in report.differences if each.cut} == {CutAt.BEFORE_RESULT}
    assert report.cuts > 6


async def test_what_a_dead_process_has_locked_stays_locked() -> None:
    def make(lock: trio.Lock) -> Sending:
        @task(name="send")
        async def send(people: Names, sent: Sent, execution: Execution[Sent]) -> TaskResult[int, str]:
            await lock.acquire()
            await execution.commit(Sent(1))
            lock.release()
            return Success.with_result(1)

        return send

    report = await crash_matrix(make, PEOPLE, world=trio.Lock, observe=lambda lock: None)
    assert places(report) == [(CutAt.BEFORE_COMMIT, 1), (CutAt.AFTER_COMMIT, 1)]
    assert all(each.after_cut.kind is CrashKind.TIMEOUT for each in report.differences)


async def test_what_a_task_keeps_in_memory_is_gone_after_a_cut() -> None:
    def make(mailbox: Mailbox) -> Sending:
        kept: list[str] = []

        @task(name="send")
        async def send(people: Names, sent: Sent, execution: Execution[Sent]) -> TaskResult[int, str]:
            if sent.count == 0:
                kept.extend(people.names)
                await execution.commit(Sent(1))
            return Success.with_result(len(kept))

        return send

    report = await matrix_of(make)
    assert [(each.what, each.after_cut) for each in report.differences] == [
        ("outcome", Success.with_result(0)),
        ("outcome", Success.with_result(0)),
    ]


async def test_every_checkpoint_is_a_place_to_cut_with_its_line() -> None:
    def make(mailbox: Mailbox) -> Sending:
        @task(name="send")
        async def send(people: Names, sent: Sent) -> TaskResult[int, str]:
            mailbox.send("first")
            await trio.sleep(86_400)
            mailbox.send("second", "key")
            await trio.lowlevel.checkpoint()
            return Success.with_result(1)

        return send

    report = await matrix_of(make, cuts=EVERY_CHECKPOINT)
    lines = [each.cut.line.partition(": ")[2] for each in report.differences if each.cut is not None]
    assert lines == ["await trio.sleep(86_400)", "await trio.lowlevel.checkpoint()", ""]
    assert "checkpoints  0 ok, 2 DIFFER" in report
    assert report.cuts == 3


# What a task may do on its way


async def test_a_task_that_is_tried_again_a_day_later_is_resumed_at_each_try() -> None:
    def make(mailbox: Mailbox) -> Sending:
        @task(name="send", retry=Retry.fixed(3, timedelta(days=1)), timeout_seconds=60)
        async def send(people: Names, sent: Sent, execution: Execution[Sent]) -> TaskResult[int, str]:
            if execution.attempt < 3:
                raise OSError("closed")
            mailbox.send("now", execution.idempotency_key)
            return Cancellation.with_error("enough")

        return send

    report = await matrix_of(make)
    assert report.differences == (), report
    assert (report.outcome, report.cuts) == (Cancellation.with_error("enough"), 5)


async def test_a_statement_that_fails_is_a_crash_of_the_attempt() -> None:
    @task(name="send", retry=Retry.never())
    async def send(people: Names, sent: Sent) -> TaskResult[int, str]:
        return Success.with_result(1).with_effects(Statement("insert into nowhere values (1)"))

    report = await crash_matrix(
        lambda _: send, PEOPLE, world=letter_database, observe=lambda _: None, connection=lambda each: each
    )
    assert report.differences[0].what == "the uncut run crashes"
    assert "no such table: nowhere" in report


# What cannot be compared


async def test_a_task_that_crashes_uncut_is_no_pass() -> None:
    @task(name="send", retry=Retry.never())
    def send(people: Names, sent: Sent) -> TaskResult[int, str]:
        raise LookupError("no postmaster")

    report = await matrix_of(lambda _: send)
    assert [(each.cut, each.what) for each in report.differences] == [(None, "the uncut run crashes")]
    assert "LookupError: no postmaster" in report
    assert report.cuts == 0


async def test_a_world_of_chance_is_told_from_a_crash() -> None:
    tosses = iter(range(100))

    def make(mailbox: Mailbox) -> Sending:
        @task(name="send")
        def send(people: Names, sent: Sent) -> TaskResult[int, str]:
            mailbox.send(f"{next(tosses)}")
            return Success.with_result(1)

        return send

    report = await matrix_of(make)
    assert [(each.cut, each.what) for each in report.differences] == [(None, "two uncut runs differ")]
    assert "observation ['0'], and then ['1']" in report


def wrong_connection(mailbox: Mailbox) -> Any:
    return mailbox


async def test_what_cannot_be_cut_is_refused_by_name() -> None:
    wrong: Any = "task"
    nowhere: Any = None
    with pytest.raises(TaskDefinitionError, match="builds a task, it built 'task'"):
        await matrix_of(lambda _: wrong)
    with pytest.raises(ConfigurationError, match=r"as lambda world: task, got <Task 'send'"):
        await crash_matrix(sending_with_a_key(Mailbox()), PEOPLE, world=Mailbox, observe=seen)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="EVERY_COMMIT or EVERY_CHECKPOINT, got 'all'"):
        await matrix_of(sending_with_a_key, cuts="all")
    with pytest.raises(ConfigurationError, match="world= of crash_matrix is a function, got None"):
        await crash_matrix(sending_with_a_key, PEOPLE, world=nowhere, observe=seen)
    with pytest.raises(ConfigurationError, match=r"cursor, commit and rollback, .* got a Mailbox"):
        await matrix_of(sending_with_a_key, connection=wrong_connection)
    with pytest.raises(TaskDefinitionError, match="cannot store its request"):
        await crash_matrix(sending_with_a_key, wrong, world=Mailbox, observe=seen)


async def test_what_the_world_raises_is_raised() -> None:
    def none() -> Mailbox:
        raise OSError("no world")

    with pytest.raises(OSError, match="no world"):
        await crash_matrix(sending_with_a_key, PEOPLE, world=none, observe=seen)
