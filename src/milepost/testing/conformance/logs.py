"""Captured lines: kept in order while the run owns its task, removed with it, and pruned by age."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from milepost.lifecycle import events
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.payload import JsonText
from milepost.stores.memory import MemoryStore
from milepost.stores.protocol import Session, Store
from milepost.stores.tables import LogLine
from milepost.testing.conformance.kit import (
    EVERYTHING,
    HOUR,
    NOW,
    SECOND,
    apply,
    claim,
    claim_one,
    delete,
    insert,
    open_leases,
    refused,
    same,
    sample,
    task_id,
)

_X = JsonText("1")
_MICROSECOND = timedelta(microseconds=1)


async def lines_come_back_as_they_were_and_in_order(store: Store) -> None:
    run = await claim_one(store, sample(1))
    logged = [
        _line(run, 0, "first"),
        _line(run, 1, 'it\'s "odd"\n{}\t\\ ✉ \U0001f600', at=NOW + _MICROSECOND, level=40),
        _line(run, 2, "", at=NOW - HOUR, level=0),
    ]
    await _append(store, logged[2], logged[0])
    await _append(store, logged[1])
    same(await _lines(store, 1), logged, "the lines of a run")
    same(await _lines(store, 2), [], "the lines of another task")


async def lines_of_several_runs_follow_each_other(store: Store) -> None:
    run = await claim_one(store, sample(1))
    await _append(store, _line(run, 0), _line(run, 1))
    await apply(store, run, events.Interrupted())
    (again,) = await claim(store)
    await _append(store, _line(again, 0))
    wanted = [(run.fence, 0), (run.fence, 1), (again.fence, 0)]
    same([(line.fence, line.ordinal) for line in await _lines(store, 1)], wanted, "fence and ordinal of each line")


async def lines_are_read_page_by_page(store: Store) -> None:
    run = await claim_one(store, sample(1))
    await _append(store, *(_line(run, ordinal) for ordinal in range(5)))
    first = await _lines(store, 1, limit=2)
    rest = await _lines(store, 1, after=(first[-1].fence, first[-1].ordinal))
    same([line.ordinal for line in (*first, *rest)], [0, 1, 2, 3, 4], "two pages")
    same(await _lines(store, 1, limit=0), [], "a page of nothing")


async def a_line_that_is_there_already_stays(store: Store) -> None:
    run = await claim_one(store, sample(1))
    await _append(store, _line(run, 0, "first"))
    await _append(store, _line(run, 0, "again"), _line(run, 1, "new"))
    same([line.message for line in await _lines(store, 1)], ["first", "new"], "a line that was sent twice")


async def lines_are_taken_with_the_end_of_their_run_and_after_it(store: Store) -> None:
    run = await claim_one(store, sample(1))

    def end(session: Session) -> None:
        (record,) = session.get([run.id])
        same(record.fence, run.fence, "the fence of a running task")
        session.logs.append([_line(run, 0)])

    await store.transact(end)
    await apply(store, run, events.Succeeded(_X))
    await _append(store, _line(run, 1))
    same(len(await _lines(store, 1)), 2, "how many lines an ended run has")


async def lines_of_a_run_that_lost_its_claim_are_dropped(store: Store) -> None:
    lost = await claim_one(store, sample(1))
    await open_leases(store, "ada", until=NOW - SECOND)
    (newer,) = await claim(store, "bob")
    await _append(store, _line(lost, 0, "late"), _line(newer, 0, "mine"))
    same([line.message for line in await _lines(store, 1)], ["mine"], "the lines of a task that was taken over")


async def lines_of_an_unknown_task_are_dropped(store: Store) -> None:
    run = await claim_one(store, sample(1))
    await _append(store, _line(sample(2, fence=1), 0), _line(run, 0))
    same(len(await _lines(store, 1)), 1, "how many lines were kept")
    same(await _lines(store, 2), [], "the lines of a task that is not there")
    await insert(store, sample(2))
    same(await _lines(store, 2), [], "the lines of a task that came later")


async def a_deleted_task_takes_its_lines_along(store: Store) -> None:
    run = await apply(store, await claim_one(store, sample(1)), events.Succeeded(_X))
    kept = await claim_one(store, sample(2))
    await _append(store, _line(run, 0), _line(kept, 0))
    await delete(store, 1)
    same(await _lines(store, 1), [], "the lines of a deleted task")
    same(len(await _lines(store, 2)), 1, "how many lines another task has")
    await insert(store, sample(1))
    same(await _lines(store, 1), [], "the lines of a new task in its place")


async def old_lines_are_pruned_oldest_first(store: Store) -> None:
    one = await claim_one(store, sample(1))
    two = await claim_one(store, sample(2, queue="other"))
    await _append(store, *(_line(one, n, at=NOW + n * SECOND) for n in range(4)))
    await _append(store, _line(two, 0, at=NOW + SECOND / 2), _line(two, 1, at=NOW + HOUR))
    before = NOW + 3 * SECOND
    same(await _prune(store, before, limit=2), 2, "how many lines a small batch removes")
    same([line.ordinal for line in await _lines(store, 1)], [1, 2, 3], "what is left of one task")
    same([line.ordinal for line in await _lines(store, 2)], [1], "what is left of the other")
    same(await _prune(store, before, limit=10), 2, "how many lines the rest are")
    same(await _prune(store, before, limit=10), 0, "how many are left to prune")
    same([line.ordinal for line in await _lines(store, 1)], [3], "what is not old enough")


async def what_was_logged_is_copied_with_its_task(store: Store) -> None:
    source = MemoryStore()
    run = await claim_one(source, sample(1))
    await _append(source, _line(run, 0), _line(run, 1))
    await apply(source, run, events.Interrupted())
    (again,) = await claim(source)
    await _append(source, _line(again, 0))
    logged = await _lines(source, 1)
    copies = await source.read(lambda session: session.copy_out(0, limit=EVERYTHING))
    same(list(copies[0].logs), logged, "the lines that are copied out")
    await store.transact(lambda session: session.copy_in(copies))
    same(await _lines(store, 1), logged, "the lines that were copied in")
    out = await store.read(lambda session: session.copy_out(0, limit=EVERYTHING))
    same(list(out[0].logs), logged, "the lines that are copied out again")


async def lines_of_a_transaction_that_failed_were_never_there(store: Store) -> None:
    run = await claim_one(store, sample(1))
    await _append(store, _line(run, 0))

    def fail(session: Session) -> None:
        session.logs.append([_line(run, 1)])
        session.logs.prune(before=NOW + HOUR, limit=10)
        same(session.logs.of(run.id, limit=10), [], "what the transaction itself sees")
        raise _UndoneError

    with refused(_UndoneError, "a transaction that raises"):
        await store.transact(fail)
    same(await _lines(store, 1), [_line(run, 0)], "the lines after a rollback")


class _UndoneError(Exception):
    """What rolls a transaction back."""


def _line(run: TaskRecord, ordinal: int, message: str = "working", *, at: datetime = NOW, level: int = 20) -> LogLine:
    return LogLine(run.id, run.fence, ordinal, at, level, "milepost.task", message)


async def _append(store: Store, *lines: LogLine) -> None:
    await store.transact(lambda session: session.logs.append(lines))


async def _lines(
    store: Store, n: int, *, limit: int = EVERYTHING, after: tuple[int, int] = (-1, -1)
) -> Sequence[LogLine]:
    id: TaskId = task_id(n)
    return await store.read(lambda session: session.logs.of(id, limit=limit, after=after))


async def _prune(store: Store, before: datetime, *, limit: int) -> int:
    return await store.transact(lambda session: session.logs.prune(before=before, limit=limit))
