"""The runs of one executor: begun from claimed records, ended into the outbox, counted by queue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, final

import trio
from returns.result import Success

from milepost.crash import Crash
from milepost.executor.invoke import invoke, invoke_pure
from milepost.executor.outbox import Outbox, Parcel
from milepost.executor.run import Committer, Run
from milepost.executor.settle import Ending, Settlement, Stopped, settle
from milepost.lifecycle import events
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.registry import Registry
from milepost.tasks import AnyTask, Stopping, TaskShape
from milepost.telemetry import AttemptStarted, Observation, RunDiscarded


@final
class Workload:
    """Runs in progress, and runs that have ended but are not stored yet."""

    def __init__(
        self,
        registry: Registry,
        outbox: Outbox,
        *,
        committer: Committer,
        threads: int,
        cleanup_seconds: Callable[[], float],
        tell: Callable[[Observation], None],
        observed: bool,
    ) -> None:
        self.runs: dict[TaskId, Run] = {}
        self.busy: Counter[str] = Counter()
        self.discarded = 0
        self._registry = registry
        self._outbox = outbox
        self._committer = committer
        self._limiter = trio.CapacityLimiter(threads)
        self._cleanup_seconds = cleanup_seconds
        self._tell = tell
        self._observed = observed
        self._quieter = trio.lowlevel.ParkingLot()

    @property
    def active(self) -> int:
        """How many functions are being called right now; each holds a slot."""
        return self.busy.total()

    def set_threads(self, threads: int) -> None:
        """How many blocking tasks may run at once."""
        self._limiter.total_tokens = threads

    def begin(self, records: Iterable[TaskRecord], nursery: trio.Nursery, *, now: datetime) -> None:
        """Start a run for each claimed record; `now` is the store's time of the claim."""
        pure: list[tuple[Run, Any, Any]] = []
        for record in records:
            task = self._registry.tasks[record.name]
            run = Run(record, task, *_limits(record, task, now))
            self.runs[record.id] = run
            decoded = task.decode(record.version, record.metadata_json, record.execution_metadata_json)
            if not isinstance(decoded, Success):
                run.ending = True
                self._outbox.put(Parcel(run, events.Undecodable(str(decoded.failure()))))
                continue
            self.busy[record.queue] += 1
            if self._observed:
                self._tell(AttemptStarted(record.id, record.name, record.attempt, record.fence))
            metadata, execution_metadata = decoded.unwrap()
            if task.shape is TaskShape.PURE:
                pure.append((run, metadata, execution_metadata))
            else:
                nursery.start_soon(self._body, run, metadata, execution_metadata)
        if pure:
            nursery.start_soon(self._pure_bodies, pure)

    def stop_all(self, stopping: Stopping) -> None:
        """Ask every run to stop."""
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

    def forget(self, run: Run) -> None:
        """The run's end is stored, or no longer ours to store."""
        if self.runs.get(run.id) is run:
            del self.runs[run.id]
            self._quieter.unpark_all()

    def hurry(self) -> None:
        """Hand in the end of those that were asked to stop and have used up their clean-up time."""
        now = trio.current_time()
        for run in list(self.runs.values()):
            stopping = run.stopping
            if stopping is None or run.ending:
                continue
            run.clean_up_until = min(run.clean_up_until, now + self._cleanup_seconds())
            if run.clean_up_until <= now:
                self._hand_in(run, Stopped(stopping))

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; it is looked at whenever a run ends or is stored."""
        while not condition():
            await self._quieter.park()

    def look_up(self) -> None:
        """Let whoever waits look at its condition again."""
        self._quieter.unpark_all()

    async def _body(self, run: Run, metadata: Any, execution_metadata: Any) -> None:
        ending = await invoke(run, metadata, execution_metadata, committer=self._committer, limiter=self._limiter)
        self._end(run, ending)

    async def _pure_bodies(self, runs: list[tuple[Run, Any, Any]]) -> None:
        for run, metadata, execution_metadata in runs:
            await trio.lowlevel.checkpoint()
            stopping = run.stopping
            self._end(run, invoke_pure(run, metadata, execution_metadata) if stopping is None else Stopped(stopping))

    def _end(self, run: Run, ending: Ending) -> None:
        self.busy[run.record.queue] -= 1
        self._quieter.unpark_all()
        if not run.lost and not run.ending:
            self._hand_in(run, ending)

    def _hand_in(self, run: Run, ending: Ending) -> None:
        run.ending = True
        settlement = _settled(run.task, ending)
        if settlement is None:
            self.lose(run)
        else:
            self._outbox.put(Parcel(run, settlement.event, settlement.effects))


def _settled(task: AnyTask, ending: Ending) -> Settlement | None:
    try:
        return settle(task, ending)
    except Exception as error:  # user code can hide in an error's or a policy's methods; it must not reach the engine
        return Settlement(events.Crashed(Crash.of(error)))


def _limits(record: TaskRecord, task: AnyTask, now: datetime) -> tuple[float, float, float]:
    start = trio.current_time()
    timeout_at = float("inf") if task.timeout_seconds is None else start + task.timeout_seconds
    deadline_at = float("inf")
    if record.deadline_at is not None:
        deadline_at = start + (record.deadline_at - now).total_seconds()
    return start, timeout_at, deadline_at
