"""A house full of tasks of every kind, a scenario that leaves none of them alone, and a ledger that knows better."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from functools import partial
from typing import Any, Final, final

import trio
from attrs import field, frozen
from returns.result import Result
from returns.result import Success as Done

from milepost import (
    BlockingExecution,
    Cancellation,
    ConcurrencyLimit,
    Execution,
    Failure,
    Retry,
    Statement,
    Success,
    Suspended,
    TaskId,
    TaskResult,
    TaskState,
    Transaction,
    task,
)
from milepost.executor import ExecutorConfig
from milepost.tasks import AnyTask
from milepost.testing.simulation import Change, Simulation

CONFIG: Final = ExecutorConfig(concurrency=6, lease_seconds=6, cleanup_seconds=1, drain_seconds=3, stalls_max=3)
BACK_OFF: Final = timedelta(seconds=2)
NARROW: Final = "narrow"
PAID: Final = "paid"
QUEUES: Final = ("default", "default", "default", NARROW, "bulk")


@frozen
class Job:
    """What a task is to do. `number` is its own."""

    number: int
    steps: int = 0
    seconds: float = 0.0


@frozen
class Step:
    """How far it got."""

    step: int = 0


@frozen
class Report:
    """What came of it."""

    number: int
    steps: int


@frozen
class Trouble:
    """Why nothing came of it."""

    number: int


@final
@frozen
class House:
    """The tasks of one simulation and what they have seen. `simulation` holds one entry once the scenario runs."""

    has_sql: bool = False
    simulation: list[Simulation] = field(factory=list[Simulation])
    acknowledged: dict[tuple[TaskId, int], int] = field(factory=dict[tuple[TaskId, int], int])
    attempted: Counter[TaskId] = field(factory=Counter[TaskId])
    poison: set[TaskId] = field(factory=set[TaskId])
    cancelled: set[TaskId] = field(factory=set[TaskId])
    deleted: set[TaskId] = field(factory=set[TaskId])
    effects: list[int] = field(factory=list[int])

    @property
    def now(self) -> Simulation:
        """The simulation."""
        return self.simulation[0]

    def expect(self, holds: bool, what: str) -> None:
        """Report what does not hold."""
        self.now.expect(holds, what)

    def starts(self, id: TaskId, step: Step) -> None:
        """A run begins: from what was acknowledged at least, and from nothing that nobody has done."""
        record = self.now.record(id)
        if record is None or not self.now.owns(id):
            return  # it has lost its claim already and does not know it yet
        known = self.acknowledged.get((id, record.epoch), 0)
        self.expect(step.step >= known, f"a run of {id} began at {step.step}, {known} was acknowledged")
        self.expect(step.step <= self.attempted[id], f"a run of {id} began at {step.step}, nobody got so far")

    async def commits(self, execution: Execution[Step], step: Step) -> None:
        """Commit, and look whether it is there."""
        id = execution.id
        self.attempted[id] = max(self.attempted[id], step.step)
        if self.now.random.random() < 0.03:
            self.now.freeze_this_process()  # between the effect and its commit
        await execution.commit(step)
        self.committed(id, step)

    def committed(self, id: TaskId, step: Step) -> None:
        """A commit was acknowledged."""
        record = self.now.record(id)
        if record is None:
            self.expect(id in self.deleted, f"{id} is gone after a commit")
            return
        stored: Any = record.execution_metadata
        self.expect(stored["step"] >= step.step, f"{id} has acknowledged {step.step}, and the store has {stored}")
        self.acknowledged[id, record.epoch] = max(self.acknowledged.get((id, record.epoch), 0), step.step)


SELECT: Final = "select id, key from effect"
INSERT: Final = "insert into effect values (?, ?)"


def _write(transaction: Transaction, *, id: str, key: str) -> Result[None, Trouble]:
    transaction.execute(INSERT, (id, key))
    return Done(None)


def tasks_of(house: House) -> list[AnyTask]:
    """One task of each kind."""

    @task(name="walk")
    async def walk(job: Job, step: Step, execution: Execution[Step]) -> TaskResult[Report, Trouble]:
        house.starts(execution.id, step)
        for done in range(step.step, job.steps):
            await trio.sleep(job.seconds)
            await house.commits(execution, Step(done + 1))
        return Success.with_result(Report(job.number, job.steps)).for_error(Trouble)

    @task(name="narrow", queue=NARROW, concurrency_limit=ConcurrencyLimit(1))
    async def narrow(job: Job, step: Step) -> TaskResult[Report, Trouble]:
        await trio.sleep(job.seconds)
        return Success.with_result(Report(job.number, 0)).for_error(Trouble)

    @task(name="pure")
    def pure(job: Job, step: Step) -> TaskResult[Report, Trouble]:
        if job.steps == 0:
            return Failure.for_result(Report).with_error(Trouble(job.number))
        if job.steps == 1:
            return Cancellation.for_result(Report).with_error(Trouble(job.number))
        return Success.with_result(Report(job.number, 0)).for_error(Trouble)

    @task(name="blocking", blocking=True)
    def blocking(job: Job, step: Step, execution: BlockingExecution[Step]) -> TaskResult[Report, Trouble]:
        house.starts(execution.id, step)
        for done in range(step.step, job.steps):
            house.attempted[execution.id] = max(house.attempted[execution.id], done + 1)
            execution.commit(Step(done + 1))
            house.committed(execution.id, Step(done + 1))
        return Success.with_result(Report(job.number, job.steps)).for_error(Trouble)

    @task(name="stubborn", retry=Retry.fixed(3, every=BACK_OFF))
    async def stubborn(job: Job, step: Step, execution: Execution[Step]) -> TaskResult[Report, Trouble]:
        if execution.attempt <= job.steps:
            await trio.sleep(job.seconds)
            if job.steps % 2:
                raise ValueError("not yet")
            return Failure.for_result(Report).with_error(Trouble(job.number))
        return Success.with_result(Report(job.number, execution.attempt)).for_error(Trouble)

    @task(name="parked")
    def parked(job: Job, step: Step) -> TaskResult[Report, Trouble, Step]:
        if step.step < job.steps:
            waiting = Suspended.with_execution_metadata(Step(step.step + 1)).for_result(Report).for_error(Trouble)
            return waiting.after(timedelta(seconds=2)) if step.step % 2 else waiting
        return Success.with_result(Report(job.number, job.steps)).for_error(Trouble)

    @task(name="spinning")
    def spinning(job: Job, step: Step) -> TaskResult[Report, Trouble, Step]:
        return Suspended.for_result(Report).for_error(Trouble).at_once()

    @task(name="poison")
    async def poison(job: Job, step: Step, execution: Execution[Step]) -> TaskResult[Report, Trouble]:
        house.poison.add(execution.id)
        house.now.kill_this_process()
        await trio.sleep_forever()
        return Success.with_result(Report(job.number, 0)).for_error(Trouble)

    @task(name="deaf", timeout_seconds=4, retry=Retry.never())
    async def deaf(job: Job, step: Step) -> TaskResult[Report, Trouble]:
        for _ in range(3):
            try:
                await trio.sleep(3)
            except trio.Cancelled:  # noqa: ASYNC103 (a task that swallows its cancellation is the point)
                with trio.CancelScope(shield=True):  # noqa: ASYNC104
                    await trio.sleep(0.7)
        return Success.with_result(Report(job.number, 0)).for_error(Trouble)

    @task(name="wild", retry=Retry.never())
    async def wild(job: Job, step: Step) -> TaskResult[Report, Trouble]:
        await trio.sleep(job.seconds)
        raise SystemExit(3) if job.steps % 2 else GeneratorExit

    @task(name="mute", retry=Retry.never())
    def mute(job: Job, step: Step) -> TaskResult[Report, Trouble]:
        return Success(Report(job.number, "\ud800"))  # type: ignore[arg-type]  # half a character: not to be stored

    @task(name="parent")
    def parent(job: Job, step: Step) -> TaskResult[Report, Trouble, Step]:
        if step.step == 0:
            children = [walk.with_metadata(Job(-job.number, each % 2, 0.4)) for each in range(job.steps)]
            waiting = Suspended.with_execution_metadata(Step(1)).for_result(Report).for_error(Trouble)
            return waiting.then_enqueue(*children).until_finished(fail_fast=job.number % 2 == 0)
        done = Success.with_result(Report(job.number, job.steps)).for_error(Trouble)
        return done.then_enqueue(pure.with_metadata(Job(-job.number, 2)))

    @task(name="expects")
    def expects(job: Job, step: Step) -> TaskResult[Report, Trouble, Step]:
        if step.step < min(job.steps, 2):
            waiting = Suspended.with_execution_metadata(Step(step.step + 1)).for_result(Report).for_error(Trouble)
            return waiting.until_event(PAID, str(job.number % 3), within=timedelta(seconds=6))
        return Success.with_result(Report(job.number, job.steps)).for_error(Trouble)

    @task(name="writes")
    async def writes(job: Job, step: Step, execution: Execution[Step]) -> TaskResult[Report, Trouble]:
        house.starts(execution.id, step)
        for done in range(step.step, job.steps):
            await trio.sleep(job.seconds / 4)
            write = partial(_write, id=execution.id, key=execution.idempotency_key)
            house.attempted[execution.id] = max(house.attempted[execution.id], done + 1)
            await execution.commit_with(write, Step(done + 1))
            house.committed(execution.id, Step(done + 1))
        written = Success.with_result(Report(job.number, job.steps)).for_error(Trouble)
        return written.with_effects(Statement(INSERT, (execution.id, execution.idempotency_key)))

    kinds: list[AnyTask] = [walk, narrow, pure, blocking, stubborn, parked, spinning, poison, deaf, wild, mute]
    return [*kinds, parent, expects, *([writes] if house.has_sql else [])]


def back_off_is_kept(change: Change) -> str | None:
    """A task that has failed waits for as long as its policy says."""
    after = change.after
    if after is None or after.name != "stubborn" or after.state is not TaskState.RETRYING:
        return None
    if change.before is not None and change.before.state is TaskState.RETRYING:
        return None
    if after.due_at is None or after.due_at - change.now < BACK_OFF:
        return f"it is due again at {after.due_at}, now is {change.now}"
    return None


def every_commit_is_a_step(change: Change) -> str | None:
    """A task that walks commits one step after the other, each once."""
    before, after = change.before, change.after
    if before is None or after is None or after.name not in ("walk", "blocking") or after.sequence == before.sequence:
        return None
    if after.epoch > before.epoch:
        return None  # somebody has asked for a new start
    was: Any = before.execution_metadata
    now: Any = after.execution_metadata
    return None if now["step"] == was["step"] + 1 else f"a commit took it from {was} to {now}"


HOUSE_RULES: Final = {"back-off": back_off_is_kept, "steps": every_commit_is_a_step}
