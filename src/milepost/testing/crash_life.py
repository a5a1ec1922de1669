"""One life of a task over one world: from its request to its end, perhaps with one death on the way.

The store is in memory, the decisions are the executor's own, and one task runs at a time. Follow-ups, children and
retries are run as they fall due, and whatever waits until somebody proceeds it is proceeded.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar, final
from uuid import UUID, uuid5

import attrs
import trio
from attrs import define, field
from returns.result import Result

from milepost.clock import LAST_MOMENT
from milepost.crash import Crash, CrashKind
from milepost.effects import Statement, Transaction
from milepost.errors import FollowUpRefused, TaskDefinitionError
from milepost.executor.claiming import Demand
from milepost.executor.invoke import invoke, invoke_pure
from milepost.executor.run import Run
from milepost.executor.settle import Raised, Returned, Settlement, settle
from milepost.executor.turn import Delivery, EffectRaised, TurnPlan, deliver, take_turn
from milepost.lifecycle import events
from milepost.lifecycle.children import Child
from milepost.lifecycle.draft import Draft
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.payload import JsonText, PayloadRefused
from milepost.registry import Registry
from milepost.results import Outcome
from milepost.stores import operations, proceed
from milepost.stores.filter import TaskFilter
from milepost.stores.memory import MemoryStore
from milepost.stores.protocol import Session
from milepost.tasks import AnyTask, TaskRequest, TaskShape
from milepost.tasks.children import Children
from milepost.tasks.execution import TaskLog
from milepost.tasks.outcomes import outcome_of
from milepost.testing.clock import VirtualClock
from milepost.testing.crash_process import CuttingBlockingExecution, CuttingExecution, Process
from milepost.testing.crash_report import Cut, CutAt
from milepost.testing.effects import DatabaseConnection, EffectsTransaction
from milepost.testing.to_end import tasks_in

T = TypeVar("T")
E = TypeVar("E")

ROOT: Final = TaskId("00000000-0000-7000-8000-000000000000")
"""The id of the task that is cut, in each of its lives, so that its idempotency keys are the same."""

_TURNS_MAX: Final = 10_000
_PATIENCE_SECONDS: Final = 10 * 365 * 86_400.0
_NEVER: Final = Crash(CrashKind.TIMEOUT, "it waits for something that never comes: nothing is left that could wake it")


@final
@define(eq=False)
class Life:
    """`target` is the number of the place at which the task is cut, from 0; None: it is not."""

    request: Callable[[], TaskRequest[Any, Any, Any, Any]]
    connection: DatabaseConnection | None
    target: int | None = None
    every_checkpoint: bool = False
    places: list[Cut] = field(factory=list[Cut])
    cut: Cut | None = None
    statements: list[Statement] = field(factory=list[Statement])
    clock: VirtualClock = field(factory=VirtualClock)
    store: MemoryStore = field(init=False)
    tasks: dict[str, AnyTask] = field(factory=dict[str, AnyTask])
    commits: Counter[TaskId] = field(factory=Counter[TaskId])
    name: str = ""
    hangs: bool = False
    _processes: list[Process] = field(factory=list[Process])

    def __attrs_post_init__(self) -> None:
        self.store = MemoryStore(lambda: self.clock.now())

    def live(self) -> None:
        """Run until everything has ended; where it is cut, go on in another process, from what was committed."""
        while not self._process():
            # A new process has a clock of its own; the dead one's stands still with it.
            self.clock = VirtualClock(self.clock.now())

    def bury(self) -> None:
        """Let go of the dead process; what its code still does is done to a world that nobody looks at."""
        for process in self._processes:
            process.let_go()

    @property
    def outcome(self) -> Outcome[Any, Any]:
        """How the task ended."""
        record = self.store.read_blocking(lambda session: session.get([ROOT]))[0]
        ended = outcome_of(record, self.tasks[record.name])
        return _NEVER if self.hangs or ended is None else ended

    def follow_ups(self) -> list[str]:
        """What became of everything that the task has enqueued."""
        found = self.store.read_blocking(lambda session: session.search(TaskFilter(), limit=_TURNS_MAX))
        return sorted(
            f"{each.name} {each.state.value}: {each.result_json or each.error_json or ''}"
            for each in found
            if each.id != ROOT
        )

    def _process(self) -> bool:
        request = self.request()  # builds the tasks anew: nothing of a dead process is left but the world
        process = Process(self.clock, None)
        self.name = request.task.name
        runner = Runner(self, process)
        if self.every_checkpoint:
            process = runner.process = Process(self.clock, runner.at_checkpoint)
        self.tasks |= runner.prepared(request.task)
        self._processes.append(process)
        if not self.store.read_blocking(lambda session: session.get([ROOT])):
            self._enqueue(request)
        return process.run(runner.run)

    def _enqueue(self, request: TaskRequest[Any, Any, Any, Any]) -> None:
        draft = request.with_id(ROOT).draft()
        if isinstance(draft, PayloadRefused):
            raise TaskDefinitionError(f"{request.task.name!r} cannot store its request: {draft}")
        self.store.transact_blocking(lambda session: operations.enqueue(session, [draft])).unwrap()

    def note(self, cut: Cut) -> bool:
        """Whether this is the place at which the task is to be cut."""
        self.places.append(cut)
        if self.cut is not None or len(self.places) - 1 != self.target:
            return False
        self.cut = cut
        return True

    @contextmanager
    def transaction(self) -> Generator[EffectsTransaction]:
        """What effects run in; without `commit`, nothing of it happens."""
        transaction = EffectsTransaction(self.connection)
        try:
            yield transaction
        finally:
            transaction.roll_back()
        self.statements += transaction.committed


@final
class Runner:
    """The executor of one process: one task at a time. It is the `Committer` of its runs."""

    def __init__(self, life: Life, process: Process) -> None:
        self.process = process
        self._life = life
        self._store = life.store
        self._run: Run | None = None
        self._line = ""
        self._limiter = trio.CapacityLimiter(40)

    def prepared(self, task: AnyTask) -> dict[str, AnyTask]:
        """The task and its parts, with executions that tell of what they are asked for."""
        return {name: self._telling(each) for name, each in Registry.of([task]).tasks.items()}

    async def run(self) -> None:
        """Run whatever is due, and let pass the time between, until nothing is left."""
        with trio.move_on_after(_PATIENCE_SECONDS) as patience:
            for _ in range(_TURNS_MAX):
                if not await self._turn():
                    return
            raise TaskDefinitionError(f"it has not ended after {_TURNS_MAX} turns: {sorted(self._life.tasks)}")
        self._life.hangs = patience.cancelled_caught

    async def _turn(self) -> bool:
        life = self._life
        receipt = self._store.transact_blocking(partial(take_turn, plan=self._plan()))
        for record in receipt.claimed:
            await self._attempt(record, receipt.children.get(record.id, ()))
            return True
        if receipt.catch is not None and receipt.catch.next_due is not None:
            wait = (receipt.catch.next_due - life.clock.now()).total_seconds()
            life.clock.advance(max(0.0, wait))
            return True
        return bool(receipt.ended) or self._proceed()

    def _plan(self) -> TurnPlan:
        tasks = self._life.tasks
        return TurnPlan(
            executor="crash-matrix",
            names={name: task.version for name, task in tasks.items()},
            policies={name: task.policy for name, task in tasks.items()},
            demand=Demand(1, None),
            lease_seconds=60,
            renew_from=LAST_MOMENT,
        )

    def _proceed(self) -> bool:
        """Proceed whoever waits for that; whether somebody did."""

        def proceed_all(session: Session) -> bool:
            found = session.search(TaskFilter(states=(TaskState.SUSPENDED,)), limit=_TURNS_MAX)
            answers = [proceed.write(session, record, events.Proceeded()) for record in found if record.due_at is None]
            return any(answer is not None and answer.map(lambda _: True).value_or(False) for answer in answers)

        return self._store.transact_blocking(proceed_all)

    # One run

    async def _attempt(self, record: TaskRecord, children: Sequence[Child]) -> None:
        task = self._life.tasks[record.name]
        start = trio.current_time()
        run = self._run = Run(record, task, start, *_limits(record, task, start, self._store))
        run.children = Children(children, self._life.tasks)
        metadata, execution_metadata = run.read()
        if task.shape is TaskShape.PURE:
            ending = invoke_pure(run, metadata, execution_metadata)
        else:
            ending = await invoke(run, metadata, execution_metadata, committer=self, limiter=self._limiter)
        self.process.check()
        run.ending = True
        settlement = settle(task, ending, run.record, hide=run.hide)
        assert settlement is not None, "nobody takes the claim away"
        if isinstance(ending, Returned):
            self._learn(ending.value)
        self._at(CutAt.BEFORE_RESULT, run)
        after = self._stored(run, settlement)
        if not after.state.is_final or after.id != ROOT:
            self._at(CutAt.AFTER_RESULT, run)
        self._run = None

    def _learn(self, result: Any) -> None:
        for task in tasks_in(getattr(result, "follow_ups", ())).values():
            for name, each in self.prepared(task).items():
                self._life.tasks.setdefault(name, each)

    def _stored(self, run: Run, settlement: Settlement) -> TaskRecord:
        drafts = _with_steady_ids(run.record, settlement.follow_ups)
        delivery = Delivery(
            run.record, run.moving(settlement.event), run.task.policy, settlement.effects, follow_ups=drafts
        )
        try:
            return self._delivered(delivery)
        except (EffectRaised, FollowUpRefused) as refused:
            error = refused.error if isinstance(refused, EffectRaised) else refused
            crashed = settle(run.task, Raised(error), run.record, hide=run.hide)
            assert crashed is not None
            return self._delivered(attrs.evolve(delivery, event=crashed.event, effects=(), follow_ups=()))

    def _delivered(self, delivery: Delivery) -> TaskRecord:
        with self._life.transaction() as transaction:
            after = self._store.transact_blocking(partial(_deliver, delivery=delivery, transaction=transaction))
            transaction.commit()
        return after

    # What a run asks of its executor

    async def commit(self, run: Run, execution_metadata: JsonText) -> None:
        """Store progress, between two places where the run may be cut."""
        await run.begin_commit()
        try:
            self._at(CutAt.BEFORE_COMMIT, run, execution_metadata)
            await trio.lowlevel.checkpoint()
            self._commit(run, execution_metadata)
            self._at(CutAt.AFTER_COMMIT, run, execution_metadata)
        finally:
            run.end_commit()

    async def commit_with(
        self, run: Run, effect: Callable[[Transaction], tuple[Result[T, E], JsonText | None]]
    ) -> Result[T, E]:
        """Run the effect and store progress together, or neither."""
        await run.begin_commit()
        try:
            self._at(CutAt.BEFORE_EFFECT, run)
            await trio.lowlevel.checkpoint()
            with self._life.transaction() as transaction:
                answer, text = effect(transaction)
                if text is None:
                    return answer
                self._at(CutAt.BEFORE_COMMIT, run, text, transaction)
                self._commit(run, text)
                transaction.commit()
            self._at(CutAt.AFTER_COMMIT, run, text)
            return answer
        finally:
            run.end_commit()

    def report(self, run: Run, fraction: float, note: str) -> None:
        """Nobody looks."""

    def log_of(self, run: Run) -> TaskLog:
        """The logger `milepost.task`."""
        known = {"task_id": run.id, "task_name": run.record.name, "attempt": run.record.attempt}
        return TaskLog(logging.getLogger("milepost.task"), known)

    def _commit(self, run: Run, text: JsonText) -> None:
        delivery = Delivery(run.record, run.moving(events.Committed(text)), run.task.policy)
        run.record = self._store.transact_blocking(partial(_deliver, delivery=delivery, transaction=None))

    # Where a run may be cut

    def at_checkpoint(self, line: str) -> None:
        """A task of trio that runs the user's code waits there."""
        if self._run is not None and not self._run.ending:
            self._line = line
            self._at(CutAt.CHECKPOINT, self._run)

    def _at(
        self,
        at: CutAt,
        run: Run,
        text: JsonText | None = None,
        transaction: EffectsTransaction | None = None,
    ) -> None:
        self.process.check()
        commits = self._life.commits
        if at is CutAt.AFTER_COMMIT:
            commits[run.id] += 1
        begins = at in (CutAt.BEFORE_EFFECT, CutAt.AFTER_EFFECT, CutAt.BEFORE_COMMIT)
        stored = run.record.execution_metadata_json if text is None else text
        value = run.task.codec.execution_metadata.decode(stored).value_or(stored)
        line = "" if at in (CutAt.BEFORE_RESULT, CutAt.AFTER_RESULT) else self._line
        if self._life.note(Cut(run.record.name, at, commits[run.id] + begins, value, line)):
            if transaction is not None:
                transaction.roll_back()  # as the server does when the process is gone
            self.process.stop()

    def _tell(self, told: CutAt | str) -> None:
        """A run is about to commit, on a line, or about to run an effect."""
        self.process.check()
        if isinstance(told, str):
            self._line = told
        elif self._run is not None:
            self._at(told, self._run)

    def _telling(self, task: AnyTask) -> AnyTask:
        shape = TaskShape.PURE if task.shape is TaskShape.CPU_BOUND else task.shape  # which has no place to be cut at
        if not task.takes_execution:
            return attrs.evolve(task, shape=shape)
        function = task.function
        if shape is TaskShape.BLOCKING:

            def blocking(metadata: Any, execution_metadata: Any, execution: Any) -> Any:
                return function(metadata, execution_metadata, CuttingBlockingExecution(execution, self._tell))

            return attrs.evolve(task, function=blocking)

        async def asynchronous(metadata: Any, execution_metadata: Any, execution: Any) -> Any:
            return await function(metadata, execution_metadata, CuttingExecution(execution, self._tell))

        return attrs.evolve(task, function=asynchronous)


def _deliver(session: Session, *, delivery: Delivery, transaction: EffectsTransaction | None) -> TaskRecord:
    after = deliver(session, [delivery], now=session.now())[0]
    assert after is not None, "nobody takes the claim away"
    if transaction is None or not delivery.carries_out(after):
        return after
    try:
        for statement in delivery.effects:
            for parameters in statement.each():
                transaction.execute(statement.sql, parameters)
    except Exception as error:
        raise EffectRaised(error) from error
    return after


def _with_steady_ids(record: TaskRecord, drafts: Sequence[Draft]) -> tuple[Draft, ...]:
    """Follow-ups under the same ids in each life, for their idempotency keys are made of them."""
    steady = {
        draft.id: draft.id if draft.replays else TaskId(str(uuid5(UUID(record.id), f"{record.sequence}.{number}")))
        for number, draft in enumerate(drafts)
    }
    return tuple(
        draft._replace(
            id=steady[draft.id],
            parent=None if draft.parent is None else steady[draft.parent],
            waits_for=None if draft.waits_for is None else tuple(steady[id] for id in draft.waits_for),
        )
        for draft in drafts
    )


def _limits(record: TaskRecord, task: AnyTask, start: float, store: MemoryStore) -> tuple[float, float]:
    timeout_at = math.inf if task.timeout_seconds is None else start + task.timeout_seconds
    if record.deadline_at is None:
        return timeout_at, math.inf
    now = store.read_blocking(lambda session: session.now())
    return timeout_at, start + (record.deadline_at - now).total_seconds()
