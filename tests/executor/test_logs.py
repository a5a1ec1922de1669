"""What tasks log is forwarded always, and stored beside: whole, in order, bounded, and never at the task's expense."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, Unpack, final

import pytest
import trio
from attrs import field, frozen

import milepost
from milepost import (
    BlockingClient,
    BlockingExecution,
    Cancellation,
    Client,
    Execution,
    Failure,
    LogLine,
    Retry,
    Statement,
    Store,
    StoreUnreachable,
    Success,
    Suspended,
    TaskResult,
    TaskState,
    open_executor,
    open_store,
    task,
)
from milepost.executor.logbook import MESSAGE_CHARACTERS_MAX
from milepost.executor.turn import take_turn
from milepost.lifecycle import events
from milepost.stores.protocol import Session, TransactOptions
from milepost.stores.tables import LogTable
from tests.executor.kit import (
    AnyRequest,
    AnyTask,
    PassingStore,
    abandoned_executor,
    announce,
    change,
    enqueue,
    placeholders,
    quick,
    run,
    sql,
    until,
    until_async,
    until_state,
)

pytestmark = pytest.mark.anyio

T = TypeVar("T")
INFO, WARNING, ERROR = logging.INFO, logging.WARNING, logging.ERROR


def told(lines: list[LogLine]) -> list[str]:
    return [line.message for line in lines]


async def logged(store: Store, chosen: AnyTask, request: AnyRequest, **settings: Any) -> list[LogLine]:
    """What a task has logged by its end."""
    (id,) = await enqueue(store, request)
    async with open_executor(store, [chosen], config=quick(**settings)):
        await until_state(store, id, TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED)
    return await Client(store).logs(id)


@task
async def talk(metadata: int, _: int, execution: Execution[int]) -> TaskResult[int, str]:
    for n in range(metadata):
        execution.log.info("line %d", n)
    return Success.with_result(metadata)


@task(blocking=True)
def talk_thread(metadata: int, _: int, execution: BlockingExecution[int]) -> TaskResult[int, str]:
    for n in range(metadata):
        execution.log.info("line %d", n)
    return Success.with_result(metadata)


# What is stored.


@pytest.mark.parametrize("chosen", [talk, talk_thread], ids=["async", "blocking"])
async def test_what_a_run_logs_is_stored_in_order_with_its_level_and_time(store: Store, chosen: AnyTask) -> None:
    lines = await logged(store, chosen, chosen.with_metadata(3))
    assert told(lines) == ["line 0", "line 1", "line 2"]
    assert {(line.level, line.logger, line.fence) for line in lines} == {(INFO, "milepost.task", 1)}
    assert [line.ordinal for line in lines] == [0, 1, 2]
    assert [line.at for line in lines] == sorted(line.at for line in lines)


async def test_it_is_forwarded_to_logging_with_the_place_that_logged_it(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "milepost.task"):
        lines = await logged(store, talk, talk.with_metadata(1))
    (record,) = [each for each in caplog.records if each.name == "milepost.task"]
    about: Any = record
    assert (record.getMessage(), about.task_id, about.task_name, about.attempt) == ("line 0", lines[0].task, "talk", 1)
    assert (record.filename, record.funcName) == ("test_logs.py", "talk")


@pytest.mark.parametrize(
    ("level", "stored"),
    [(logging.DEBUG, ["d", "i", "w", "e"]), (INFO, ["i", "w", "e"]), (ERROR, ["e"]), (None, []), (60, [])],
)
async def test_the_level_that_is_stored_is_a_setting_whatever_the_logger_is_set_to(
    store: Store, level: int | None, stored: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    @task
    async def chatty(metadata: int, _: int, execution: Execution[int]) -> TaskResult[int, str]:
        execution.log.debug("d")
        execution.log.info("i")
        execution.log.warning("w")
        execution.log.error("e")
        return Success.with_result(1)

    with caplog.at_level(WARNING, "milepost.task"):
        assert told(await logged(store, chatty, chatty.with_metadata(1), log_level=level)) == stored
    assert [each.getMessage() for each in caplog.records if each.name == "milepost.task"] == ["w", "e"]


async def test_an_exception_is_stored_with_its_traceback_and_odd_text_as_it_can_be(store: Store) -> None:
    class Odd:
        def __str__(self) -> str:
            raise LookupError("no text")

    @task
    async def odd(metadata: int, _: int, execution: Execution[int]) -> TaskResult[int, str]:
        log = execution.log
        try:
            raise ValueError("no such row")
        except ValueError as error:
            log.exception("it broke")
            log.info("told", exc_info=error)
        log.info("NUL \0 and half a pair \ud83d, whole \U0001f600")
        log.info("100%")
        log.info("%(name)s", {"name": "by name"})
        log.log(2**70, "loud")
        log.info("x" * (MESSAGE_CHARACTERS_MAX + 1))
        log.info("%s", Odd())
        return Success.with_result(1)

    lines = await logged(store, odd, odd.with_metadata(1))
    exception, also, text, percent, named, loud, long, untold = lines
    assert exception.level == ERROR
    assert exception.message.startswith("it broke\nTraceback (most recent call last):\n")
    assert exception.message.endswith("ValueError: no such row")
    assert also.message.endswith("ValueError: no such row")
    assert text.message == "NUL \\0 and half a pair \\ud83d, whole \U0001f600"
    assert (percent.message, named.message, loud.message) == ("100%", "by name", "loud")
    assert loud.level > ERROR
    assert len(long.message) == MESSAGE_CHARACTERS_MAX
    assert long.message.endswith(f"xxx... ({MESSAGE_CHARACTERS_MAX + 1} characters)")
    assert untold.message == "a message that cannot be told: LookupError: no text"


async def test_a_secret_of_the_request_is_not_stored(store: Store) -> None:
    @frozen
    class Login:
        user: str
        password: str = field(repr=milepost.secret)

    @task
    async def login(metadata: Login, _: int, execution: Execution[int]) -> TaskResult[int, str]:
        execution.log.info("%s with %s", metadata.user, metadata.password)
        return Success.with_result(1)

    lines = await logged(store, login, login.with_metadata(Login("ada", "opensesame")))
    assert told(lines) == ["ada with ***"]


async def test_a_run_keeps_so_many_lines_and_says_how_many_are_missing(store: Store) -> None:
    lines = await logged(store, talk, talk.with_metadata(25), log_lines_max=20)
    assert told(lines[:20]) == [f"line {n}" for n in range(20)]
    (marker,) = lines[20:]
    assert marker.message == "5 lines of this run are missing: it keeps 20 (log_lines_max)"
    assert (marker.level, marker.ordinal) == (WARNING, 20)


async def test_each_run_of_a_task_keeps_its_own_lines(store: Store) -> None:
    @task(retry=Retry.fixed(2, timedelta(0)))
    async def insist(metadata: int, _: int, execution: Execution[int]) -> TaskResult[int, str]:
        for n in range(3):
            execution.log.info("attempt %d line %d", execution.attempt, n)
        if execution.attempt < 3:
            raise LookupError
        return Success.with_result(1)

    lines = await logged(store, insist, insist.with_metadata(1), log_lines_max=2)
    wanted = [(fence, ordinal) for fence in (1, 2, 3) for ordinal in (0, 1, 2)]
    assert [(line.fence, line.ordinal) for line in lines] == wanted
    assert told(lines)[6:] == [
        "attempt 3 line 0",
        "attempt 3 line 1",
        "1 lines of this run are missing: it keeps 2 (log_lines_max)",
    ]


async def test_long_logs_are_read_page_by_page_by_both_clients(store: Store) -> None:
    (id,) = await enqueue(store, talk.with_metadata(2_500))
    async with open_executor(store, [talk], config=quick(log_lines_max=10_000)):
        await until_state(store, id, TaskState.COMPLETED)
    every = await Client(store).logs(id)
    assert told(every) == [f"line {n}" for n in range(2_500)]
    blocking = BlockingClient(store)
    first = await trio.to_thread.run_sync(lambda: blocking.logs(id, limit=2))
    rest = await trio.to_thread.run_sync(lambda: blocking.logs(id, after=first[-1], limit=3))
    assert told(first + rest) == [f"line {n}" for n in range(5)]
    assert await Client(store).logs(id, after=every[-1]) == []
    assert await Client(store).logs(milepost.TaskId("00000000-0000-7000-8000-000000000000")) == []


# When it is stored.


async def test_lines_can_be_read_while_the_run_goes_on(store: Store) -> None:
    finish = trio.Event()

    @task
    async def slow(metadata: int, _: int, execution: Execution[int]) -> TaskResult[int, str]:
        execution.log.info("begun")
        await finish.wait()
        execution.log.info("ended")
        return Success.with_result(1)

    (id,) = await enqueue(store, slow.with_metadata(1))
    client = Client(store)
    async with open_executor(store, [slow], config=quick()):

        async def is_there() -> bool:
            return told(await client.logs(id)) == ["begun"]

        await until_async(is_there, "the first line")
        finish.set()
        await until_state(store, id, TaskState.COMPLETED)
    assert told(await client.logs(id)) == ["begun", "ended"]


@pytest.mark.parametrize("end", ["fail", "crash", "give up", "suspend", "time out"])
async def test_lines_are_there_as_soon_as_the_end_of_the_run_is(store: Store, end: str) -> None:
    @task(retry=Retry.never(), timeout_seconds=0.05)
    async def odd(metadata: int, _: int, execution: Execution[int]) -> TaskResult[int, str]:
        execution.log.info("so far")
        if end == "time out":
            await trio.sleep_forever()
        match end:
            case "fail":
                return Failure.with_error("no")
            case "crash":
                raise LookupError
            case "give up":
                return Cancellation.with_error("no")
            case _:
                return Suspended()

    (id,) = await enqueue(store, odd.with_metadata(1))
    async with open_executor(store, [odd], config=quick()):
        await until_state(store, id, TaskState.FAILED, TaskState.CANCELLED, TaskState.SUSPENDED)
        assert told(await Client(store).logs(id)) == ["so far"]


@pytest.mark.parametrize("blocking", [False, True], ids=["async", "blocking"])
async def test_lines_of_an_interrupted_run_are_kept(store: Store, blocking: bool) -> None:
    started, leave = trio.Event(), threading.Event()

    @task
    async def endless(metadata: int, _: int, execution: Execution[int]) -> TaskResult[int, str]:
        execution.log.info("so far")
        started.set()
        try:
            await trio.sleep_forever()
        finally:
            execution.log.info("cleaning up")

    @task(blocking=True)
    def endless_thread(metadata: int, _: int, execution: BlockingExecution[int]) -> TaskResult[int, str]:
        execution.log.info("so far")
        trio.from_thread.run_sync(started.set)
        execution.wait_stopping()
        execution.log.info("cleaning up")
        leave.wait(5)
        return Success.with_result(1)

    chosen: AnyTask = endless_thread if blocking else endless
    (id,) = await enqueue(store, chosen.with_metadata(1))
    async with open_executor(store, [chosen], config=quick()) as executor:
        await started.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(executor.interrupt)
            await until_state(store, id, TaskState.INTERRUPTED)
            leave.set()
    assert told(await Client(store).logs(id)) == ["so far", "cleaning up"]


@pytest.mark.slow
async def test_lines_of_a_result_with_effects_are_stored_with_it_and_kept_when_it_cannot_be(sql_store: Store) -> None:
    await sql(sql_store, "create table ledger (entry text)")
    insert = placeholders(sql_store, "insert into ledger values (?)")
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) from n"

    @task(retry=Retry.never())
    async def book(metadata: str, _: int, execution: Execution[int]) -> TaskResult[int, str]:
        execution.log.info("booking %s", metadata)
        statement = insert if metadata != "wrong" else insert.replace("ledger", "nowhere")
        booked = Success.with_result(1).for_error(str).with_effects(Statement(statement, (metadata,)))
        return booked.with_effects(Statement(endless)) if metadata == "slow" else booked

    counting = Away(sql_store)
    assert told(await logged(counting, book, book.with_metadata("fine"))) == ["booking fine"]
    assert counting.appends == [True]
    assert told(await logged(counting, book, book.with_metadata("wrong"))) == ["booking wrong"]
    assert counting.appends == [True, True, False]  # rolled back with its effects, and with the crash once more
    assert told(await logged(counting, book, book.with_metadata("slow"), effect_seconds=0.1)) == ["booking slow"]


async def test_lines_of_a_run_whose_claim_was_lost_are_dropped(shared_store: Store) -> None:
    started, taken_over = trio.Event(), trio.Event()

    @task
    async def slow(metadata: int, _: int, execution: Execution[int]) -> TaskResult[int, str]:
        started.set()
        with trio.CancelScope(shield=True):
            await taken_over.wait()
        for n in range(5):
            execution.log.info("late %d", n)
        await execution.commit(1)
        return Success.with_result(1)

    (id,) = await enqueue(shared_store, slow.with_metadata(1))
    async with (
        open_store(shared_store.url) as other,
        open_executor(shared_store, [slow], config=quick()) as executor,
    ):
        await started.wait()
        await other.transact(lambda session: announce(session, "somebody else"))
        claimed = await change(other, id, events.Claimed("somebody else", "a new token"))
        mine = LogLine(id, claimed.fence, 0, datetime(2030, 1, 1, tzinfo=UTC), INFO, "x", "mine")
        await other.transact(lambda session: session.logs.append([mine]))
        taken_over.set()
        await until(lambda: executor.statistics().discarded == 1)
    assert await Client(shared_store).logs(id) == [mine]


# At nobody's expense.


@final
class Away(PassingStore):
    """A store that can be away, and knows of each transaction in which lines are appended whether it was alone."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.is_away = False
        self.failed = 0
        self.appends: list[bool] = []
        self.append_fails = False

    async def transact(self, function: Callable[[Session], T], **options: Unpack[TransactOptions]) -> T:
        if self.is_away:
            self.failed += 1
            raise StoreUnreachable("away")
        alone = options.get("alone", False)
        return await super().transact(lambda session: function(counting(session, self, alone)), **options)


def counting(session: Session, store: Away, alone: bool) -> Any:
    return _Counting(session, store, alone)


class _Counting:
    """A session that passes everything on, and its lines to one who counts."""

    def __init__(self, inner: Session, store: Away, alone: bool) -> None:
        self._inner = inner
        self._store = store
        self._alone = alone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property
    def logs(self) -> Any:
        return _CountingLogs(self._inner.logs, self._store, self._alone)


class _CountingLogs:
    def __init__(self, inner: LogTable, store: Away, alone: bool) -> None:
        self._inner = inner
        self._store = store
        self._alone = alone

    def append(self, lines: Any) -> None:
        self._store.appends.append(self._alone)
        if self._store.append_fails:
            raise LookupError("a bug")
        self._inner.append(lines)


async def test_a_task_that_logs_nothing_costs_nothing(store: Store) -> None:
    counting = Away(store)

    @task
    async def quiet(metadata: int, _: int, execution: Execution[int]) -> TaskResult[int, str]:
        await execution.commit(1)
        execution.log.debug("below the level")
        return Success.with_result(1)

    outcomes = await run(counting, [quiet], *(quiet.with_metadata(n) for n in range(5)))
    assert (outcomes, counting.appends) == ([Success.with_result(1)] * 5, [])


async def test_lines_wait_for_a_store_that_is_away_and_the_task_does_not(store: Store) -> None:
    away = Away(store)
    done = trio.Event()

    @task
    async def chatty(metadata: int, _: int, execution: Execution[int]) -> TaskResult[int, str]:
        away.is_away = True
        execution.log.info("first")
        await until(lambda: away.failed > 1, "some turns to fail")
        execution.log.info("second")
        done.set()
        return Success.with_result(1)

    (id,) = await enqueue(store, chatty.with_metadata(1))
    async with open_executor(away, [chatty], config=quick()):
        await done.wait()
        away.is_away = False
        await until_state(store, id, TaskState.COMPLETED)
        assert told(await Client(store).logs(id)) == ["first", "second"]


async def test_lines_that_cannot_be_stored_cost_no_task_its_result(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Away(store)
    broken.append_fails = True
    outcomes = await run(broken, [talk], talk.with_metadata(3))
    assert outcomes == [Success.with_result(3)]
    assert "lines of runs are lost" in caplog.text


async def test_lines_of_the_clean_up_of_a_run_are_kept(store: Store) -> None:
    started = trio.Event()

    @task
    async def stubborn(metadata: int, _: int, execution: Execution[int]) -> TaskResult[int, str]:
        execution.log.info("so far")
        started.set()
        with trio.CancelScope(shield=True):
            await execution.wait_stopping()
            execution.log.info("not yet")
        await trio.sleep_forever()

    (id,) = await enqueue(store, stubborn.with_metadata(1))
    async with abandoned_executor(store, [stubborn], config=quick()):
        await started.wait()
    assert told(await Client(store).logs(id)) == ["so far", "not yet"]


@final
class NoTurns(PassingStore):
    """A store that at some time carries no turn any more, but what else an executor asks."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.carries = True

    async def transact(self, function: Callable[[Session], T], **options: Unpack[TransactOptions]) -> T:
        if not self.carries and getattr(function, "func", None) is take_turn:
            raise StoreUnreachable("away")
        return await super().transact(function, **options)


@pytest.mark.slow
async def test_lines_that_no_turn_has_carried_are_given_back_with_the_lease(store: Store) -> None:
    failing, started = NoTurns(store), trio.Event()

    @task
    async def endless(metadata: int, _: int, execution: Execution[int]) -> TaskResult[int, str]:
        failing.carries = False
        execution.log.info("so far")
        started.set()
        await trio.sleep_forever()

    (id,) = await enqueue(store, endless.with_metadata(1))
    async with abandoned_executor(failing, [endless], config=quick(cleanup_seconds=0.01)):
        await started.wait()
    record = await until_state(store, id, TaskState.INTERRUPTED)
    assert record.executor is None
    assert told(await Client(store).logs(id)) == ["so far"]


async def test_many_runs_and_threads_log_at_once_without_a_line_lost_or_out_of_order(store: Store) -> None:
    requests = [talk_thread.with_metadata(50) for _ in range(8)] + [talk.with_metadata(50) for _ in range(8)]
    ids = await enqueue(store, *requests)
    async with open_executor(store, [talk, talk_thread], config=quick()):
        for id in ids:
            await until_state(store, id, TaskState.COMPLETED)
    for id in ids:
        assert told(await Client(store).logs(id)) == [f"line {n}" for n in range(50)]
