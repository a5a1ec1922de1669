"""What the power is cut under: tasks with effects, the promises that are made of them, and an auditor of what is left.

The auditor opens the files with a store of its own, and reads them with SQL of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias, final

import apsw
from attrs import frozen
from returns.result import Result
from returns.result import Success as Done

from milepost import (
    Client,
    Execution,
    Executor,
    Statement,
    Store,
    Success,
    TaskId,
    TaskQuery,
    TaskResult,
    TaskState,
    Transaction,
    open_executor,
    open_store,
    task,
)
from milepost.errors import StoreError
from milepost.stores.open import connect_store
from milepost.stores.protocol import Session
from milepost.telemetry import AttemptEnded, Observation, ProgressCommitted
from tests.executor.kit import MovableClock, quick, sql, until_async

FILE: Final = "tasks.db"
WAVE: Final = 3
"""How many tasks are enqueued in one transaction."""
STEPS: Final = 3
_RECEIPT_STEP: Final = 9
_CREATE: Final = "create table ledger (task integer, step integer)"
_INSERT: Final = "insert into ledger values (?, ?)"
_DAY: Final = timedelta(days=1)


@final
@frozen
class Promise:
    """Somebody was told that the task is stored, with so many commits, and what became of it if it has ended."""

    id: TaskId
    sequence: int = 0
    state: TaskState | None = None


Tell: TypeAlias = Callable[[Promise], None]


@task
async def receipt(metadata: int, progress: int) -> TaskResult[int, str]:
    """Write one line together with the result; enqueued by the result of `book`."""
    return Success.with_result(metadata).with_effects(Statement(_INSERT, (metadata, _RECEIPT_STEP)))


@task
async def book(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str]:
    """Write a line together with each commit, and one together with the result and its follow-up."""
    for step in range(progress, STEPS):
        await execution.commit_with(partial(_entry, metadata, step), step + 1)
    last = Statement(_INSERT, (metadata, STEPS))
    return Success.with_result(metadata).with_effects(last).then_enqueue(receipt.with_metadata(metadata))


def _entry(number: int, step: int, transaction: Transaction) -> Result[int, str]:
    transaction.execute(_INSERT, (number, step))
    return Done(step)


async def work(url: str, waves: int, promise: Tell) -> None:
    """Enqueue, cancel and run tasks, and tell of each promise at the moment at which it is made."""
    async with open_store(url) as store:
        await sql(store, _CREATE)
        async with _running(store, promise):
            for wave in range(waves):
                await _send_wave(Client(store), wave, promise)
            await until_async(lambda: _is_idle(store), "all tasks to end")


async def finish(url: str, days: int, promise: Tell) -> None:
    """Run whatever is left to its end, two or more days after the work: all leases are over, and every task is due."""
    clock = MovableClock()
    clock.forward(timedelta(days=days))
    async with open_store(url, clock=clock) as store, _running(store, promise):
        await until_async(lambda: _is_idle(store), "what the power cut has left to end")


def _running(store: Store, promise: Tell) -> AbstractAsyncContextManager[Executor]:
    def observe(observation: Observation) -> None:
        match observation:
            case ProgressCommitted(id, _, sequence):
                promise(Promise(id, sequence))
            case AttemptEnded(id=id, name=name, state=state) if state.is_final:
                promise(Promise(id, STEPS if name == book.name else 0, state))
            case _:
                pass

    return open_executor(store, [book, receipt], config=quick(concurrency=2 * WAVE), observer=observe)


async def _send_wave(client: Client, wave: int, promise: Tell) -> None:
    numbers = range(wave * WAVE, (wave + 1) * WAVE)
    handles = await client.enqueue_all(book.with_metadata(number) for number in numbers)
    for handle in handles:
        promise(Promise(handle.id))
    doomed = await client.enqueue(receipt.with_metadata(-1 - wave).after(_DAY))
    promise(Promise(doomed.id))
    (await client.cancel(doomed.id)).unwrap()
    promise(Promise(doomed.id, state=TaskState.CANCELLED))
    await handles[0].wait(10)
    promise(Promise(handles[0].id, STEPS, TaskState.COMPLETED))


async def _is_idle(store: Store) -> bool:
    return await Client(store).count(TaskQuery().live()) == 0


@final
@frozen
class _Row:
    id: str
    name: str
    number: int
    state: TaskState
    sequence: int
    progress: int

    @property
    def lines(self) -> set[int]:
        """The lines of the ledger that belong to what is stored of the task."""
        is_completed = self.state is TaskState.COMPLETED
        if self.name == receipt.name:
            return {_RECEIPT_STEP} if is_completed else set()
        return {*range(self.sequence), *([STEPS] if is_completed else [])}


@final
@frozen
class Audit:
    """What the files hold: the tasks, how often each line of the ledger is there, and what SQL itself found wrong."""

    rows: Mapping[str, _Row]
    lines: Mapping[tuple[int, int], int]
    wrong: tuple[str, ...]

    def complaints(self, promises: Iterable[Promise]) -> Iterator[str]:
        """All that is wrong: what is damaged, what is half done, and what was promised and is not there."""
        yield from self.wrong
        yield from self._half_done()
        yield from self._broken(promises)

    def unfinished(self) -> list[str]:
        """The tasks that have not ended."""
        return [row.id for row in self.rows.values() if not row.state.is_final]

    def _half_done(self) -> Iterator[str]:
        expected = {(row.number, step): 1 for row in self.rows.values() for step in row.lines}
        for line in expected.keys() | self.lines.keys():
            if self.lines.get(line, 0) != expected.get(line, 0):
                yield f"line {line} is there {self.lines.get(line, 0)} times, and the tasks say {expected.get(line, 0)}"
        books = {row.number: row for row in self.rows.values() if row.name == book.name}
        for row in books.values():
            if row.sequence != row.progress:
                yield f"{row.id} has {row.sequence} commits and the progress of {row.progress}"
            first = row.number - row.number % WAVE
            if not all(number in books for number in range(first, first + WAVE)):
                yield f"{row.id} is there without those that were enqueued with it"
        receipts = sorted(row.number for row in self.rows.values() if row.name == receipt.name and row.number >= 0)
        completed = sorted(number for number, row in books.items() if row.state is TaskState.COMPLETED)
        if receipts != completed:
            yield f"completed are {completed}, and follow-ups are there of {receipts}"

    def _broken(self, promises: Iterable[Promise]) -> Iterator[str]:
        for promise in promises:
            row = self.rows.get(str(promise.id))
            if row is None:
                yield f"{promise} is not there"
            elif row.sequence < promise.sequence or promise.state not in (None, row.state):
                yield f"{promise} is {row}"


_ENDS: Final = """select t.id from milepost_task t left join milepost_history h
on h.task = t.id and h.state in ('completed', 'failed', 'cancelled')
group by t.id having count(h.task) <> (t.finished_at is not null)"""
_TASKS: Final = "select id, name, metadata_json, state, sequence, execution_metadata_json from milepost_task"


def audit(folder: Path) -> Audit:
    """Open what is left in `folder` with a fresh store, and look at everything."""
    try:
        store = connect_store(f"sqlite:///{folder / FILE}")
        try:
            return store.read_blocking(_audit)
        finally:
            store.close()
    except (StoreError, apsw.Error) as error:
        return Audit({}, {}, (f"the file cannot be read: {error!r}",))


def _audit(session: Session) -> Audit:
    def rows(query: str) -> list[tuple[Any, ...]]:
        return session.transaction.execute(query)

    damage = tuple(f"integrity_check: {said}" for (said,) in rows("pragma integrity_check") if said != "ok")
    if damage:
        return Audit({}, {}, damage)
    has_ledger = bool(rows("select 1 from sqlite_schema where name = 'ledger'"))
    lines = rows("select task, step, count(*) from ledger group by task, step") if has_ledger else []
    tasks = [
        _Row(id, name, int(number), TaskState(state), sequence, int(progress))
        for id, name, number, state, sequence, progress in rows(_TASKS)
    ]
    return Audit(
        rows={row.id: row for row in tasks},
        lines={(number, step): times for number, step, times in lines},
        wrong=tuple(f"{id} has not exactly one end in its history" for (id,) in rows(_ENDS)),
    )
