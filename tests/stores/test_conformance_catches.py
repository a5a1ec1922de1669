"""The conformance suite is not vacuous: stores that break one promise are caught, and the promise is named."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import NoReturn, TypeAlias, TypeVar, Unpack

import attrs
import pytest
import trio

from milepost.clock import EPOCH
from milepost.effects import Transaction
from milepost.errors import StoreError
from milepost.lifecycle.change import Transition
from milepost.lifecycle.limits import LimitKey
from milepost.lifecycle.queues import QueueSettings
from milepost.lifecycle.rates import RateUse
from milepost.lifecycle.record import HistoryEvent, TaskId, TaskRecord
from milepost.lifecycle.ties import Tie
from milepost.stores.filter import TaskFilter
from milepost.stores.flow_tables import EventTable, JoinTable, ScheduleRow, ScheduleTable, SentEvent
from milepost.stores.memory import MemoryStore
from milepost.stores.protocol import ClaimOrder, Held, Hint, Lease, Report, Session, TaskCopy, TransactOptions, Watch
from milepost.stores.tables import EndedTask, EndTable, LimitTable, LogLine, LogTable, QueueTable
from milepost.testing import check_store

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

T = TypeVar("T")


class Passing:
    """A session that passes every verb on; each mutant breaks one."""

    def __init__(self, inner: Session) -> None:
        self.inner = inner

    @property
    def transaction(self) -> Transaction:
        return self.inner.transaction

    @property
    def settings(self) -> QueueTable:
        return self.inner.settings

    @property
    def limits(self) -> LimitTable:
        return self.inner.limits

    @property
    def logs(self) -> LogTable:
        return self.inner.logs

    @property
    def ends(self) -> EndTable:
        return self.inner.ends

    @property
    def joins(self) -> JoinTable:
        return self.inner.joins

    @property
    def schedules(self) -> ScheduleTable:
        return self.inner.schedules

    @property
    def events(self) -> EventTable:
        return self.inner.events

    def now(self) -> datetime:
        return self.inner.now()

    def insert(self, records: Iterable[TaskRecord]) -> None:
        self.inner.insert(records)

    def insert_unbounded(self, records: Sequence[TaskRecord]) -> bool:
        return self.inner.insert_unbounded(records)

    def holders(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], TaskRecord]:
        return self.inner.holders(keys)

    def claim(self, order: ClaimOrder, *, now: datetime) -> list[TaskRecord]:
        return self.inner.claim(order, now=now)

    def queues(self, names: Mapping[str, int]) -> list[str]:
        return self.inner.queues(names)

    def next_due(self, names: Mapping[str, int], queues: Sequence[str]) -> datetime | None:
        return self.inner.next_due(names, queues)

    def write(self, transitions: Sequence[Transition]) -> list[bool]:
        return self.inner.write(transitions)

    def report(self, reports: Sequence[Report]) -> None:
        self.inner.report(reports)

    def get(self, ids: Sequence[TaskId]) -> list[TaskRecord]:
        return self.inner.get(ids)

    def search(self, wanted: TaskFilter, *, limit: int) -> list[TaskRecord]:
        return self.inner.search(wanted, limit=limit)

    def count(self, wanted: TaskFilter) -> int:
        return self.inner.count(wanted)

    def ids(self, wanted: TaskFilter) -> list[TaskId]:
        return self.inner.ids(wanted)

    def history(self, id: TaskId) -> list[HistoryEvent]:
        return self.inner.history(id)

    def delete(self, ids: Sequence[TaskId]) -> int:
        return self.inner.delete(ids)

    def copy_out(self, after: int, *, limit: int) -> list[TaskCopy]:
        return self.inner.copy_out(after, limit=limit)

    def copy_in(self, copies: Sequence[TaskCopy]) -> None:
        self.inner.copy_in(copies)

    def open_lease(self, lease: Lease) -> None:
        self.inner.open_lease(lease)

    def renew(self, executor: str, *, now: datetime, lease_until: datetime, running: int) -> bool:
        return self.inner.renew(executor, now=now, lease_until=lease_until, running=running)

    def close_lease(self, executor: str) -> None:
        self.inner.close_lease(executor)

    def leases(self) -> list[Lease]:
        return self.inner.leases()

    def held(self, executor: str) -> list[Held]:
        return self.inner.held(executor)

    def cancel_requests(self, executor: str) -> list[Held]:
        return self.inner.cancel_requests(executor)


class PassingStore:
    """A memory store whose sessions are wrapped."""

    def __init__(self, session: Callable[[Session], Session] = Passing) -> None:
        self.inner = MemoryStore()
        self.session = session
        self.url = self.inner.url
        self.over = self.inner.over
        self.close = self.inner.close

    async def transact(self, function: Callable[[Session], T], **options: Unpack[TransactOptions]) -> T:
        return await self.inner.transact(self.wrapped(function), **options)

    def transact_blocking(self, function: Callable[[Session], T], **options: Unpack[TransactOptions]) -> T:
        return self.inner.transact_blocking(self.wrapped(function), **options)

    async def read(self, function: Callable[[Session], T]) -> T:
        return await self.inner.read(self.wrapped(function))

    def read_blocking(self, function: Callable[[Session], T]) -> T:
        return self.inner.read_blocking(self.wrapped(function))

    def watch(self, hints: Hint) -> Watch:
        return self.inner.watch(hints)

    def wrapped(self, function: Callable[[Session], T]) -> Callable[[Session], T]:
        return lambda session: function(self.session(session))


class _Careless(Passing):
    """Writes without comparing some fields of the version."""

    fields: tuple[str, ...] = ()

    def write(self, transitions: Sequence[Transition]) -> list[bool]:
        return [self.inner.write([self._forgiven(change)])[0] for change in transitions]

    def _forgiven(self, change: Transition) -> Transition:
        for record in self.inner.get([change.before.id]):
            found = {field: getattr(record, field) for field in self.fields}
            return attrs.evolve(change, before=attrs.evolve(change.before, **found))
        return change


class NoTokenCheck(_Careless):
    fields = ("token",)


class NoSequenceCheck(_Careless):
    fields = ("sequence",)


class NoFenceCheck(_Careless):
    fields = ("fence",)


class NoRevisionCheck(_Careless):
    fields = ("revision",)


class NoStateCheck(_Careless):
    fields = ("state",)


class KeysNotUnique(Passing):
    def insert(self, records: Iterable[TaskRecord]) -> None:
        for record in records:
            try:
                self.inner.insert([record])
            except StoreError:
                self.inner.insert([attrs.evolve(record, key=None)])


class ClaimsTheFuture(Passing):
    def claim(self, order: ClaimOrder, *, now: datetime) -> list[TaskRecord]:
        return self.inner.claim(order, now=now + timedelta(seconds=1))


class StealsFromTheLiving(Passing):
    def claim(self, order: ClaimOrder, *, now: datetime) -> list[TaskRecord]:
        leases = self.inner.leases()
        for lease in leases:
            self.inner.close_lease(lease.executor)
        claimed = self.inner.claim(order, now=now)
        for lease in leases:
            self.inner.open_lease(lease)
        return claimed


class ClaimsDueOnesFirst(Passing):
    def claim(self, order: ClaimOrder, *, now: datetime) -> list[TaskRecord]:
        claimed = self.inner.claim(order, now=now)
        return sorted(claimed, key=lambda record: record.fence)


class ForgetsHistoryOfWrites(Passing):
    def write(self, transitions: Sequence[Transition]) -> list[bool]:
        return self.inner.write([attrs.evolve(change, history=()) for change in transitions])


class ReportsForAnybody(Passing):
    def report(self, reports: Sequence[Report]) -> None:
        owners = {record.id: record.token or "" for record in self.inner.get([report.id for report in reports])}
        self.inner.report([attrs.evolve(report, token=owners.get(report.id, "")) for report in reports])


class DeletesTheRunning(Passing):
    def delete(self, ids: Sequence[TaskId]) -> int:
        return self.inner.delete(ids) + sum(record.executor is not None for record in self.inner.get(ids))


class UntypedContainment(Passing):
    def search(self, wanted: TaskFilter, *, limit: int) -> list[TaskRecord]:
        return self.inner.search(attrs.evolve(wanted, metadata=()), limit=limit)


class SearchesNoTexts(Passing):
    def search(self, wanted: TaskFilter, *, limit: int) -> list[TaskRecord]:
        return self.inner.search(attrs.evolve(wanted, texts=None), limit=limit)


class FindsWhatHasNotEnded(Passing):
    def search(self, wanted: TaskFilter, *, limit: int) -> list[TaskRecord]:
        return self.inner.search(attrs.evolve(wanted, finished_from=None), limit=limit)


class TellsOneLineOfEachChange(Passing):
    def write(self, transitions: Sequence[Transition]) -> list[bool]:
        return self.inner.write([attrs.evolve(each, history=each.history[:1]) for each in transitions])


class ForgetsEarlyProceeds(Passing):
    def write(self, transitions: Sequence[Transition]) -> list[bool]:
        forgotten = [attrs.evolve(each, after=attrs.evolve(each.after, early_proceed_at=None)) for each in transitions]
        return self.inner.write(forgotten)


class CopiesWithoutHistory(Passing):
    def copy_in(self, copies: Sequence[TaskCopy]) -> None:
        self.inner.copy_in([attrs.evolve(copy, history=()) for copy in copies])


class CopiesOutBackwards(Passing):
    def copy_out(self, after: int, *, limit: int) -> list[TaskCopy]:
        return self.inner.copy_out(after, limit=limit)[::-1]


class ForgetsTheLoad(Passing):
    def renew(self, executor: str, *, now: datetime, lease_until: datetime, running: int) -> bool:
        return self.inner.renew(executor, now=now, lease_until=lease_until, running=0)


class CopiesWithoutLogs(Passing):
    def copy_in(self, copies: Sequence[TaskCopy]) -> None:
        self.inner.copy_in([attrs.evolve(copy, logs=()) for copy in copies])


class _LogsOfAnyRun:
    """Lines of lost runs are taken as those of the newest."""

    def __init__(self, inner: Session) -> None:
        self._inner = inner
        self.of = inner.logs.of
        self.prune = inner.logs.prune

    def append(self, lines: Sequence[LogLine]) -> None:
        fences = {record.id: record.fence for record in self._inner.get([line.task for line in lines])}
        self._inner.logs.append([attrs.evolve(line, fence=fences.get(line.task, line.fence)) for line in lines])


class KeepsLogsOfLostRuns(Passing):
    @property
    def logs(self) -> LogTable:
        return _LogsOfAnyRun(self.inner)


class _EndsOfAnyRevision:
    """Removes what has ended since, or goes on."""

    def __init__(self, inner: Session) -> None:
        self._inner = inner
        self.walk = inner.ends.walk
        self.is_only_one = inner.ends.is_only_one

    def remove(self, tasks: Sequence[EndedTask]) -> list[TaskId]:
        ids = [task.id for task in tasks]
        self._inner.delete(ids)
        return ids


class RemovesWhatWasRequeued(Passing):
    @property
    def ends(self) -> EndTable:
        return _EndsOfAnyRevision(self.inner)


class ClaimsWhatIsPaused(Passing):
    def claim(self, order: ClaimOrder, *, now: datetime) -> list[TaskRecord]:
        said = self.inner.settings.get([order.queue])
        self.inner.settings.put(QueueSettings(name=order.queue))
        claimed = self.inner.claim(order, now=now)
        for settings in said.values():
            self.inner.settings.put(settings)
        return claimed


class ClaimsUncounted(Passing):
    def claim(self, order: ClaimOrder, *, now: datetime) -> list[TaskRecord]:
        counted = order.limit if order.due_max is None else order.due_max
        return self.inner.claim(attrs.evolve(order, due_max=counted), now=now)


class ForgetsCapacities(Passing):
    def insert_unbounded(self, records: Sequence[TaskRecord]) -> bool:
        self.inner.insert(records)
        return True


class _PassingLimits:
    """A table of limits that passes every verb on."""

    def __init__(self, inner: LimitTable) -> None:
        self.inner = inner
        self.lock = inner.lock
        self.put_rates = inner.put_rates
        self.forget_rates = inner.forget_rates
        self.lines = inner.lines
        self.sharers = inner.sharers

    def rates(self, keys: Collection[LimitKey]) -> dict[LimitKey, RateUse]:
        return self.inner.rates(keys)

    def running(self, keys: Collection[LimitKey]) -> dict[LimitKey, int]:
        return self.inner.running(keys)

    def parked(self, most: Mapping[LimitKey, int], *, now: datetime) -> dict[LimitKey, list[TaskRecord]]:
        return self.inner.parked(most, now=now)


class _GivesSlotsTwice(_PassingLimits):
    def rates(self, keys: Collection[LimitKey]) -> dict[LimitKey, RateUse]:
        return {key: attrs.evolve(use, last_slot=EPOCH) for key, use in self.inner.rates(keys).items()}


class GivesSlotsTwice(Passing):
    @property
    def limits(self) -> LimitTable:
        return _GivesSlotsTwice(self.inner.limits)


class _CountsOneAtMost(_PassingLimits):
    def running(self, keys: Collection[LimitKey]) -> dict[LimitKey, int]:
        return {key: min(1, running) for key, running in self.inner.running(keys).items()}


class CountsOneAtMost(Passing):
    @property
    def limits(self) -> LimitTable:
        return _CountsOneAtMost(self.inner.limits)


class _LineByArrivalAlone(_PassingLimits):
    def parked(self, most: Mapping[LimitKey, int], *, now: datetime) -> dict[LimitKey, list[TaskRecord]]:
        whole = self.inner.parked(dict.fromkeys(most, 100), now=now)
        lines = {key: sorted(line, key=lambda record: -int(record.id[-4:], 16)) for key, line in whole.items()}
        return {key: line[: most[key]] for key, line in lines.items()}


class LineByArrivalAlone(Passing):
    @property
    def limits(self) -> LimitTable:
        return _LineByArrivalAlone(self.inner.limits)


class DeletesTheAwaited(Passing):
    def delete(self, ids: Sequence[TaskId]) -> int:
        return self.inner.delete(ids) + sum(record.is_awaited for record in self.inner.get(ids))


class WritesNoTies(Passing):
    def write(self, transitions: Sequence[Transition]) -> list[bool]:
        return self.inner.write([self._loose(each) for each in transitions])

    def _loose(self, change: Transition) -> Transition:
        return attrs.evolve(change, after=change.after.changed({"ties": Tie.NONE}))


class CopiesWithoutChildren(Passing):
    def copy_in(self, copies: Sequence[TaskCopy]) -> None:
        self.inner.copy_in([attrs.evolve(copy, children=()) for copy in copies])


class _PassingJoins:
    """A table of joins that passes every verb on."""

    def __init__(self, inner: Session) -> None:
        self.session = inner
        self.inner = inner.joins
        self.unfinished_of = self.inner.unfinished_of
        self.counts = self.inner.counts
        self.children = self.inner.children
        self.descendants = self.inner.descendants

    def put(self, parent: TaskId, children: Sequence[TaskId]) -> None:
        self.inner.put(parent, children)

    def end(self, ended: Sequence[TaskRecord]) -> list[TaskId]:
        return self.inner.end(ended)

    def reopen(self, tasks: Sequence[TaskId]) -> None:
        self.inner.reopen(tasks)

    def unfinished(self, parents: Sequence[TaskId]) -> set[TaskId]:
        return self.inner.unfinished(parents)

    def hand_over(self, parent: TaskId, heir: TaskId) -> bool:
        return self.inner.hand_over(parent, heir)


class _PutsNothingFinal(_PassingJoins):
    def put(self, parent: TaskId, children: Sequence[TaskId]) -> None:
        states = {record.id: record.state.is_final for record in self.session.get(children)}
        self.inner.put(parent, [child for child in children if not states.get(child)])


class PutsNothingFinal(Passing):
    @property
    def joins(self) -> JoinTable:
        return _PutsNothingFinal(self.inner)


class _TellsOneParent(_PassingJoins):
    def end(self, ended: Sequence[TaskRecord]) -> list[TaskId]:
        return self.inner.end(ended)[:1]


class TellsOneParent(Passing):
    @property
    def joins(self) -> JoinTable:
        return _TellsOneParent(self.inner)


class _KeepsTheLatestEnd(_PassingJoins):
    def end(self, ended: Sequence[TaskRecord]) -> list[TaskId]:
        for record in ended:
            self.inner.reopen([record.id])
        return self.inner.end(ended)


class KeepsTheLatestEnd(Passing):
    @property
    def joins(self) -> JoinTable:
        return _KeepsTheLatestEnd(self.inner)


class _OpensNothingAgain(_PassingJoins):
    def reopen(self, tasks: Sequence[TaskId]) -> None:
        return


class OpensNothingAgain(Passing):
    @property
    def joins(self) -> JoinTable:
        return _OpensNothingAgain(self.inner)


class _HandsOverWithoutEnds(_PassingJoins):
    def hand_over(self, parent: TaskId, heir: TaskId) -> bool:
        self.inner.put(heir, self.inner.unfinished_of(parent))
        return heir in self.inner.unfinished([heir])


class HandsOverWithoutEnds(Passing):
    @property
    def joins(self) -> JoinTable:
        return _HandsOverWithoutEnds(self.inner)


class _PassingEvents:
    """A table of events that passes every verb on."""

    def __init__(self, inner: EventTable) -> None:
        self.inner = inner
        self.lock = inner.lock
        self.keep = inner.keep
        self.waiting = inner.waiting
        self.forget = inner.forget
        self.copy_out = inner.copy_out

    def is_known(self, event: SentEvent) -> bool:
        return self.inner.is_known(event)

    def take(self, name: str, key: str, *, now: datetime) -> SentEvent | None:
        return self.inner.take(name, key, now=now)


class _GivesTwice(_PassingEvents):
    def take(self, name: str, key: str, *, now: datetime) -> SentEvent | None:
        taken = self.inner.take(name, key, now=now)
        if taken is not None:
            self.inner.keep(taken, delivered_at=None)
        return taken


class GivesEventsTwice(Passing):
    @property
    def events(self) -> EventTable:
        return _GivesTwice(self.inner.events)


class _ForgetsDelivered(_PassingEvents):
    def is_known(self, event: SentEvent) -> bool:
        kept = self.inner.copy_out(0, limit=1_000)
        return self.inner.is_known(event) and any(
            each.event.id == event.id and each.delivered_at is None for each in kept
        )


class ForgetsDeliveredEvents(Passing):
    @property
    def events(self) -> EventTable:
        return _ForgetsDelivered(self.inner.events)


class _PassingSchedules:
    """A table of schedules that passes every verb on."""

    def __init__(self, inner: ScheduleTable) -> None:
        self.inner = inner
        self.get = inner.get
        self.all = inner.all
        self.insert = inner.insert
        self.delete = inner.delete
        self.due = inner.due
        self.next_due = inner.next_due

    def write(self, row: ScheduleRow) -> bool:
        return self.inner.write(row)

    def wake(self, keys: Sequence[str], *, now: datetime) -> None:
        self.inner.wake(keys, now=now)


class _WritesStale(_PassingSchedules):
    def write(self, row: ScheduleRow) -> bool:
        return any(
            self.inner.write(attrs.evolve(row, revision=found.revision)) for found in self.inner.get([row.key]).values()
        )


class WritesStaleSchedules(Passing):
    @property
    def schedules(self) -> ScheduleTable:
        return _WritesStale(self.inner.schedules)


class _WakesAll(_PassingSchedules):
    def wake(self, keys: Sequence[str], *, now: datetime) -> None:
        for row in self.inner.get(keys).values():
            self.inner.write(attrs.evolve(row, due_at=now))


class WakesEverySchedule(Passing):
    @property
    def schedules(self) -> ScheduleTable:
        return _WakesAll(self.inner.schedules)


class RollbackLoses(PassingStore):
    """Commits what a function did before it raised."""

    async def transact(self, function: Callable[[Session], T], **options: Unpack[TransactOptions]) -> T:
        return (await super().transact(_kept(function), **options))()

    def transact_blocking(self, function: Callable[[Session], T], **options: Unpack[TransactOptions]) -> T:
        return super().transact_blocking(_kept(function), **options)()


class HintsLost(PassingStore):
    def watch(self, hints: Hint) -> Watch:
        return _Deaf()


class _Deaf:
    """A watch that hears nothing, and says so at once."""

    async def wait(self, seconds: float) -> bool:
        await trio.lowlevel.checkpoint()
        return False

    def wait_blocking(self, seconds: float) -> bool:
        return False

    def close(self) -> None:
        """There is nothing to close."""


def _kept(function: Callable[[Session], T]) -> Callable[[Session], Callable[[], T]]:
    """`function` without its exceptions: they come when the answer is called, after the commit."""

    def call(session: Session) -> Callable[[], T]:
        try:
            value = function(session)
        except Exception as error:
            return partial(_raise, error)
        return lambda: value

    return call


def _raise(error: Exception) -> NoReturn:
    raise error


MakeMutant: TypeAlias = Callable[[], PassingStore]


def _with(session: Callable[[Session], Session]) -> MakeMutant:
    return lambda: PassingStore(session)


async def test_the_unbroken_store_passes() -> None:
    assert await _broken_promises(_with(Passing)) == []


@pytest.mark.parametrize(
    ("mutant", "promise"),
    [
        pytest.param(_with(NoTokenCheck), "a write with another token changes nothing", id="no token check"),
        pytest.param(_with(NoSequenceCheck), "a write with a stale sequence changes nothing", id="no sequence check"),
        pytest.param(_with(NoFenceCheck), "a write with a stale fence changes nothing", id="no fence check"),
        pytest.param(_with(NoRevisionCheck), "a write with a stale revision changes nothing", id="no revision check"),
        pytest.param(_with(NoStateCheck), "a write on another state changes nothing", id="no state check"),
        pytest.param(_with(KeysNotUnique), "a taken key is an error and nothing is inserted", id="keys not unique"),
        pytest.param(_with(ClaimsTheFuture), "a task is not claimed before it is due", id="claims future rows"),
        pytest.param(_with(StealsFromTheLiving), "a live lease is never stolen from", id="steals from a live lease"),
        pytest.param(_with(ClaimsDueOnesFirst), "expired tasks come first", id="claims due ones first"),
        pytest.param(_with(ForgetsHistoryOfWrites), "history tells every change in order", id="history lost"),
        pytest.param(_with(ReportsForAnybody), "a report of another token changes nothing", id="reports for anybody"),
        pytest.param(_with(DeletesTheRunning), "a running task is not deleted", id="counts the running as deleted"),
        pytest.param(_with(UntypedContainment), "containment is typed", id="metadata ignored"),
        pytest.param(
            _with(SearchesNoTexts),
            "a text is searched in every part that people know a task by",
            id="texts ignored",
        ),
        pytest.param(_with(FindsWhatHasNotEnded), "a range of ends leaves out what has not ended", id="ends ignored"),
        pytest.param(
            _with(TellsOneLineOfEachChange), "a kept proceed is told of whatever uses it up", id="one line a change"
        ),
        pytest.param(
            _with(ForgetsEarlyProceeds),
            "a write decided before a proceed was kept changes nothing",
            id="early proceeds forgotten",
        ),
        pytest.param(_with(CopiesWithoutHistory), "what was copied in reads as it did", id="copies no history"),
        pytest.param(_with(CopiesWithoutLogs), "what was logged is copied with its task", id="copies no logs"),
        pytest.param(_with(KeepsLogsOfLostRuns), "lines of a run that lost its claim are dropped", id="lost runs log"),
        pytest.param(
            _with(RemovesWhatWasRequeued), "what was requeued meanwhile is not removed", id="removes live ones"
        ),
        pytest.param(_with(CopiesOutBackwards), "copy out gives every task in order of arrival", id="copies backwards"),
        pytest.param(_with(ForgetsTheLoad), "a renewed lease says when and until and with what load", id="no load"),
        pytest.param(_with(ClaimsWhatIsPaused), "nothing of a paused queue is claimed", id="claims what is paused"),
        pytest.param(
            _with(ClaimsUncounted), "a limited queue gives nothing to who has not counted", id="claims uncounted"
        ),
        pytest.param(
            _with(ForgetsCapacities), "an insert for unbounded queues only is all or none", id="forgets capacities"
        ),
        pytest.param(_with(GivesSlotsTwice), "the last slot is that of a task that waits", id="gives slots twice"),
        pytest.param(_with(CountsOneAtMost), "running tasks are counted by their key", id="counts one at most"),
        pytest.param(
            _with(LineByArrivalAlone), "the line is by priority and then by arrival", id="line by arrival alone"
        ),
        pytest.param(
            _with(DeletesTheAwaited), "an awaited task is deleted only once it is final", id="deletes the awaited"
        ),
        pytest.param(_with(WritesNoTies), "a write changes ties where its transition does", id="writes no ties"),
        pytest.param(
            _with(CopiesWithoutChildren), "children are copied with their parent", id="copies without children"
        ),
        pytest.param(_with(PutsNothingFinal), "what is final is put with its end", id="puts nothing final"),
        pytest.param(_with(TellsOneParent), "an end is told to all who wait for it", id="tells one parent"),
        pytest.param(
            _with(KeepsTheLatestEnd),
            "an end that is kept stays whatever becomes of the child",
            id="keeps the latest end",
        ),
        pytest.param(_with(OpensNothingAgain), "a child is opened again for who still waits", id="opens nothing again"),
        pytest.param(_with(HandsOverWithoutEnds), "an heir waits for the same children", id="hands over without ends"),
        pytest.param(
            _with(GivesEventsTwice), "an event is taken once in the order of sending", id="gives events twice"
        ),
        pytest.param(
            _with(ForgetsDeliveredEvents),
            "an event is known by its id whether it was delivered or not",
            id="forgets delivered events",
        ),
        pytest.param(
            _with(WritesStaleSchedules),
            "a schedule is written while it is as it was read",
            id="writes stale schedules",
        ),
        pytest.param(
            _with(WakesEverySchedule),
            "a schedule is woken if an instant of it is queued",
            id="wakes every schedule",
        ),
        pytest.param(RollbackLoses, "a failed transaction undoes everything", id="rollback loses"),
        pytest.param(HintsLost, "a watch hears what becomes due", id="hint lost"),
    ],
)
async def test_a_store_that_breaks_a_promise_is_caught(mutant: MakeMutant, promise: str) -> None:
    assert promise in await _broken_promises(mutant)


async def _broken_promises(make: MakeMutant) -> list[str]:
    @asynccontextmanager
    async def open_mutant() -> AsyncGenerator[PassingStore]:
        store = make()
        try:
            yield store
        finally:
            store.close()

    try:
        await check_store(open_mutant)
    except ExceptionGroup as group:
        return [str(error).partition(":")[0] for error in group.exceptions]
    return []
