"""The runs of one executor: begun from claimed records, ended into the outbox, counted by queue."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, final

import trio

from milepost.crash import Crash
from milepost.executor.invoke import invoke, invoke_pure
from milepost.executor.outbox import Outbox, Parcel
from milepost.executor.run import Committer, Run
from milepost.executor.settle import Broken, Ending, Settlement, Stopped, settle
from milepost.lifecycle import events
from milepost.lifecycle.children import Child
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.transition import is_suspect
from milepost.registry import Registry
from milepost.tasks import AnyTask, Stopping, TaskShape
from milepost.tasks.children import Children
from milepost.telemetry import AttemptStarted, Observation, RunDiscarded

_SUSPECT_SECONDS = 10.0
"""How long a suspect is run alone; one that has lived that long holds up no other."""

_PURE_SECONDS = 0.001
"""For how long plain functions may run one after the other before everything else gets its turn."""


@final
class Workload:
    """Runs in progress, and runs that have ended but are not stored yet."""

    def __init__(
        self, registry: Registry, outbox: Outbox, *, threads: int, tell: Callable[[Observation], None], observed: bool
    ) -> None:
        self.broken: BaseException | None = None
        self.runs: dict[TaskId, Run] = {}
        self._suspects: dict[TaskId, Run] = {}
        self.busy: Counter[str] = Counter()
        self.active = 0
        self.discarded = 0
        self._registry = registry
        self._outbox = outbox
        self._limiter = trio.CapacityLimiter(threads)
        self._tell = tell
        self._observed = observed
        self._onlookers = trio.lowlevel.ParkingLot()
        self._stopping: Stopping | None = None

    def set_threads(self, threads: int) -> None:
        """How many blocking tasks may run at once."""
        self._limiter.total_tokens = threads

    def take(
        self, records: Iterable[TaskRecord], children: Mapping[TaskId, Sequence[Child]], *, now: datetime
    ) -> list[Run]:
        """Give each claimed record a slot; `now` is the store's time of the claim, `children` are those that some have
        waited for."""
        start = trio.current_time()
        runs: list[Run] = []
        for record in records:
            task = self._registry.tasks[record.name]
            run = Run(record, task, start, *_limits(record, task, start, now))
            if record.join is not None:
                run.children = Children(children.get(record.id, ()), self._registry.tasks)
            if self._stopping is not None:
                run.stop(self._stopping)
            self.runs[record.id] = run
            if is_suspect(record):
                self._suspects[record.id] = run
            self.busy[record.queue] += 1
            self.active += 1
            runs.append(run)
        self.look_up()
        return runs

    def begin(self, runs: Sequence[Run], nursery: trio.Nursery, committer: Committer) -> None:
        """Decode and call each run's task; what cannot be decoded is handed in as that."""
        pure: list[tuple[Run, Any, Any]] = []
        for run in runs:
            record, task = run.record, run.task
            if run.stopping is not None:
                self._end(run, Stopped(run.stopping))
                continue
            if self._observed:
                self._tell(AttemptStarted(record.id, record.name, record.attempt, record.fence))
            try:
                metadata, execution_metadata = run.read()
            except Exception:  # what is wrong, and where, is found out by decoding once more, part by part
                self._free(run)
                self._refuse_to_run(run)
                continue
            if task.shape is TaskShape.PURE:
                pure.append((run, metadata, execution_metadata))
            else:
                nursery.start_soon(self._body, run, metadata, execution_metadata, committer, name=task.name)
        if pure:
            nursery.start_soon(self._pure_bodies, pure)

    def _refuse_to_run(self, run: Run) -> None:
        if not run.lost and not run.ending:
            run.ending = True
            fault = next(run.task.faults_of(run.record), None)
            reason = "decoded at the second try only" if fault is None else str(fault.refusal)
            self._outbox.put(Parcel(run, events.Undecodable(reason)))

    def has_fresh_suspect(self) -> bool:
        """Whether a task runs that may kill this process, and has not yet run for long without doing so."""
        since = trio.current_time() - _SUSPECT_SECONDS
        return any(run.started_at > since and is_suspect(run.record) for run in self._suspects.values())

    def stop_all(self, stopping: Stopping) -> None:
        """Ask every run to stop, and those too that a turn under way may still bring."""
        self._stopping = stopping
        for run in list(self.runs.values()):
            run.stop(stopping)

    def lose(self, run: Run) -> None:
        """The run's claim is gone: cancel it, forget it, and write nothing of it."""
        if run.lost:
            return
        run.lose()
        self._outbox.drop(run)
        self.forget(run)
        self.discarded += 1
        self._tell(RunDiscarded(run.id, run.record.name, run.record.fence))

    def is_running(self, id: TaskId) -> bool:
        """Whether a run of the task is in progress and has not handed in its end."""
        run = self.runs.get(id)
        return run is not None and not run.ending

    def lose_all(self) -> None:
        """Every claim is gone."""
        for run in list(self.runs.values()):
            self.lose(run)

    def lose_unfinished(self) -> None:
        """Every claim may be gone. What has ended already is still offered to the store, whose guard decides."""
        for run in list(self.runs.values()):
            if not run.ending:
                self.lose(run)

    def forget(self, run: Run) -> None:
        """The run's end is stored, or no longer ours to store."""
        if self.runs.get(run.id) is run:
            del self.runs[run.id]
            self._suspects.pop(run.id, None)
            self.look_up()

    def hurry(self, cleanup_seconds: float) -> None:
        """Hand in the end of those that were asked to stop and have used up their clean-up time."""
        now = trio.current_time()
        for run in list(self.runs.values()):
            stopping = run.stopping
            if stopping is None or run.ending:
                continue
            run.clean_up_until = min(run.clean_up_until, now + cleanup_seconds)
            if run.clean_up_until <= now:
                self._hand_in(run, Stopped(stopping))

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; it is looked at whenever runs begin or one ends or is stored, and at
        `look_up`."""
        while not condition():
            await self._onlookers.park()

    def look_up(self) -> None:
        """Let whoever waits look at its condition again."""
        if self._onlookers:
            self._onlookers.unpark_all()

    async def _body(self, run: Run, metadata: Any, execution_metadata: Any, committer: Committer) -> None:
        self._end(run, await invoke(run, metadata, execution_metadata, committer=committer, limiter=self._limiter))

    async def _pure_bodies(self, runs: list[tuple[Run, Any, Any]]) -> None:
        give_way_at = 0.0
        for run, metadata, execution_metadata in runs:
            if trio.current_time() >= give_way_at:
                await trio.lowlevel.checkpoint()
                give_way_at = trio.current_time() + _PURE_SECONDS
            stopping = run.stopping
            self._end(run, invoke_pure(run, metadata, execution_metadata) if stopping is None else Stopped(stopping))

    def _end(self, run: Run, ending: Ending) -> None:
        if isinstance(ending, Broken):
            self.broken = self.broken or ending.error
        self._free(run)
        if not run.lost and not run.ending:
            self._hand_in(run, ending)

    def _free(self, run: Run) -> None:
        self.busy[run.record.queue] -= 1
        self.active -= 1
        self.look_up()

    def _hand_in(self, run: Run, ending: Ending) -> None:
        run.ending = True
        run.end_log()
        settlement = _settled(run, ending)
        if settlement is None:
            self.lose(run)
        else:
            event = run.moving(settlement.event)
            self._outbox.put(Parcel(run, event, settlement.effects, settlement.follow_ups))


def _settled(run: Run, ending: Ending) -> Settlement | None:
    try:
        return settle(run.task, ending, run.record, hide=run.hide)
    except Exception as error:  # user code can hide in an error's or a policy's methods; it must not reach the engine
        return Settlement(events.Crashed(Crash.of(error, hide=run.hide)))


def _limits(record: TaskRecord, task: AnyTask, start: float, now: datetime) -> tuple[float, float]:
    timeout_at = math.inf if task.timeout_seconds is None else start + task.timeout_seconds
    if record.deadline_at is None:
        return timeout_at, math.inf
    return timeout_at, start + (record.deadline_at - now).total_seconds()
