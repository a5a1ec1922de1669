"""One claimed task in this process: what is known of it, and the execution that its function gets."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, Protocol, TypeVar, cast, final, overload

import attrs
import trio
from attrs import define, field, frozen
from returns.result import Result, Success

from milepost.codec.secrets import without
from milepost.effects import Transaction
from milepost.errors import ClaimLost, InvalidPayload
from milepost.executor.logbook import RunLog
from milepost.lifecycle import events
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.payload import JsonText, PayloadRefused, storable_text
from milepost.tasks import AnyTask, StopKind, Stopping
from milepost.tasks.children import NO_CHILDREN, Children
from milepost.tasks.execution import TaskLog
from milepost.tasks.named_event import NamedEvent, named

T = TypeVar("T")
E = TypeVar("E")
P = TypeVar("P")


@final
@define(eq=False)
class Run:
    """A run in progress. Touched only in trio's thread; `record` is the task as it was last durable."""

    record: TaskRecord
    task: AnyTask
    started_at: float
    timeout_at: float = math.inf
    deadline_at: float = math.inf
    clean_up_until: float = math.inf
    ending: bool = False
    lost: bool = False
    moved: events.Moved | None = None
    log: RunLog | None = None
    children: Children = NO_CHILDREN
    scope: trio.CancelScope = field(init=False)
    _secrets: frozenset[str] = frozenset()
    _stopping: Stopping | None = None
    _committing: bool = False
    _committers: trio.lowlevel.ParkingLot | None = None
    _asked: trio.Event | None = None

    def __attrs_post_init__(self) -> None:
        self.scope = trio.CancelScope(deadline=min(self.timeout_at, self.deadline_at))

    @property
    def id(self) -> TaskId:
        """The task's id."""
        return self.record.id

    def read(self) -> tuple[Any, Any]:
        """The typed metadata and execution metadata; raises anything at all for a row that cannot be read."""
        record, task = self.record, self.task
        if record.version != task.version:
            record = task.moved(record).unwrap()
            initial = record.initial_execution_metadata_json
            self.moved = events.Moved(record.version, record.metadata_json, initial)
        return task.read(record)

    def moving(self, event: T) -> T:
        """`event`, which moves the row to this program's version if it stores execution metadata of that version."""
        if self.moved is not None and isinstance(event, events.Committed | events.Suspended):
            return attrs.evolve(event, moved=self.moved)
        return event

    def received(self, event: NamedEvent[P]) -> P | None:
        """What came with the event, if it is the one that the task has waited for."""
        text = self.record.received_json
        if text is None or self.record.awaited_event != event.name:
            return None
        payload = event.read(text)
        self._secrets |= event.codec.secrets_in(text)
        return payload

    def hide(self, text: str) -> str:
        """`text` without the secrets that the run was given."""
        return without(self.task.hide(text, self.record), self._secrets)

    async def begin_commit(self) -> None:
        """Wait until no child of the function is committing, so that commits are ordered; then `end_commit` is owed."""
        # Not a trio.Lock: nearly every run has no children that commit, and pays for the lock at each commit.
        while self._committing:
            if self._committers is None:
                self._committers = trio.lowlevel.ParkingLot()
            await self._committers.park()
        self._committing = True

    def end_commit(self) -> None:
        """Let the next child commit."""
        self._committing = False
        if self._committers is not None:
            self._committers.unpark()

    @property
    def stopping(self) -> Stopping | None:
        """Why the run is asked to stop; a limit of time that has passed is noticed here."""
        if self._stopping is None and self.scope.cancel_called:
            timed_out = self.timeout_at <= self.deadline_at
            self._ask(Stopping(StopKind.TIMEOUT if timed_out else StopKind.DEADLINE))
        return self._stopping

    def stop(self, stopping: Stopping) -> None:
        """Ask the run to stop; the first reason stands."""
        if self.stopping is None:
            self._ask(stopping)
            self.scope.cancel(reason=stopping.kind.value)

    def lose(self) -> None:
        """The claim is gone: whatever the run does from now on is not written."""
        self.lost = True
        self.end_log()
        self._ask(Stopping(StopKind.CLAIM_LOST))
        self.scope.cancel(reason=StopKind.CLAIM_LOST.value)

    def end_log(self) -> None:
        """Nothing that is logged from now on belongs to the run."""
        if self.log is not None:
            self.log.close()

    def _ask(self, stopping: Stopping) -> None:
        self._stopping = stopping
        if self._asked is not None:
            self._asked.set()

    async def wait_stopping(self) -> Stopping:
        """Wait until the run is asked to stop."""
        if self._asked is None:
            self._asked = trio.Event()
        while (stopping := self.stopping) is None:
            with trio.move_on_at(self.scope.deadline):
                await self._asked.wait()
        return stopping


class Committer(Protocol):
    """What an execution needs of the executor."""

    async def commit(self, run: Run, execution_metadata: JsonText) -> None:
        """Return once the execution metadata is durable."""
        ...

    async def commit_with(
        self, run: Run, effect: Callable[[Transaction], tuple[Result[T, E], JsonText | None]]
    ) -> Result[T, E]:
        """Run the effect and commit the text that comes with its answer, in one transaction; None: roll back."""
        ...

    def report(self, run: Run, fraction: float, note: str) -> None:
        """Keep human progress."""
        ...

    def log_of(self, run: Run) -> TaskLog:
        """The run's logger."""
        ...


@final
@frozen(eq=False)
class RunExecution:
    """The `Execution` of an async task."""

    _run: Run
    _committer: Committer

    @property
    def id(self) -> TaskId:
        """The task's id."""
        return self._run.id

    @property
    def attempt(self) -> int:
        """From 1."""
        return self._run.record.attempt

    @property
    def key(self) -> str | None:
        """The request's own key."""
        return self._run.record.key

    @property
    def scheduled_at(self) -> datetime | None:
        """The instant of its schedule."""
        return self._run.record.schedule_at

    @property
    def idempotency_key(self) -> str:
        """Stable at this committed position."""
        return self._run.record.idempotency_key

    @property
    def children(self) -> Children:
        """What became of the tasks that it has waited for."""
        return self._run.children

    @overload
    def received(self, event: NamedEvent[P]) -> P | None: ...
    @overload
    def received(self, event: str) -> Any: ...
    def received(self, event: NamedEvent[Any] | str) -> Any:
        """What came with the event that it has waited for."""
        return self._run.received(named(event))

    @property
    def log(self) -> TaskLog:
        """A logger that carries the task."""
        return self._committer.log_of(self._run)

    @property
    def stopping(self) -> Stopping | None:
        """Why the run is asked to stop."""
        return self._run.stopping

    async def wait_stopping(self) -> Stopping:
        """Wait until the run is asked to stop."""
        return await self._run.wait_stopping()

    async def commit(self, execution_metadata: object) -> None:
        """Return once `execution_metadata` is durable."""
        await self._committer.commit(self._run, self._encode(execution_metadata))

    async def commit_after(self, effect: Callable[[], Coroutine[Any, Any, Result[T, E]]], next: object) -> Result[T, E]:
        """Run `effect`, then commit `next` if it succeeded."""
        answer = await effect()
        # No checkpoint between the effect's return and the shield: nothing can come between the two.
        with trio.CancelScope(shield=True):
            await self.commit_answer(answer, next)
        return answer

    async def commit_answer(self, answer: Result[T, E], next: object) -> None:
        """Commit `next` if `answer` is a success."""
        if isinstance(answer, Success):
            await self.commit(_resolved(next, answer.unwrap()))

    async def commit_with(self, effect: Callable[[Transaction], Result[T, E]], next: object) -> Result[T, E]:
        """Run `effect` in the transaction that commits `next`."""

        def together(transaction: Transaction) -> tuple[Result[T, E], JsonText | None]:
            answer = effect(transaction)
            if isinstance(answer, Success):
                return answer, self._encode(_resolved(next, answer.unwrap()))
            return answer, None

        return await self._committer.commit_with(self._run, together)

    def report(self, fraction: float, note: str = "") -> None:
        """Tell people how far the run is."""
        if math.isfinite(fraction):
            self._committer.report(self._run, min(1.0, max(0.0, fraction)), storable_text(note))

    def _encode(self, execution_metadata: object) -> JsonText:
        if self._run.lost:
            raise ClaimLost(f"the task {self._run.id} belongs to another run")
        if self._run.ending:
            raise ClaimLost(f"this run of the task {self._run.id} has ended; commit before the function returns")
        written = self._run.task.codec.execution_metadata.write(execution_metadata)
        if isinstance(written, PayloadRefused):
            raise InvalidPayload(f"the execution metadata of {self._run.task.name!r} cannot be stored: {written}")
        return written


@final
@frozen(eq=False)
class BlockingRunExecution:
    """The `BlockingExecution` of a task on a worker thread: the same, by way of trio's thread."""

    _inner: RunExecution
    _token: trio.lowlevel.TrioToken = attrs.field(factory=trio.lowlevel.current_trio_token)

    @property
    def id(self) -> TaskId:
        """The task's id."""
        return self._inner.id

    @property
    def attempt(self) -> int:
        """From 1."""
        return self._inner.attempt

    @property
    def key(self) -> str | None:
        """The request's own key."""
        return self._inner.key

    @property
    def scheduled_at(self) -> datetime | None:
        """The instant of its schedule."""
        return self._inner.scheduled_at

    @property
    def idempotency_key(self) -> str:
        """Stable at this committed position."""
        return self._inner.idempotency_key

    @property
    def children(self) -> Children:
        """What became of the tasks that it has waited for."""
        return self._inner.children

    @overload
    def received(self, event: NamedEvent[P]) -> P | None: ...
    @overload
    def received(self, event: str) -> Any: ...
    def received(self, event: NamedEvent[Any] | str) -> Any:
        """What came with the event that it has waited for."""
        return self._inner.received(event)

    @property
    def log(self) -> TaskLog:
        """A logger that carries the task."""
        return self._inner.log

    @property
    def stopping(self) -> Stopping | None:
        """Why the run is asked to stop."""
        # Limits of time are told by trio's clock, which only its thread may read; by token, no cancel comes between.
        return trio.from_thread.run_sync(lambda: self._inner.stopping, trio_token=self._token)

    def wait_stopping(self) -> Stopping:
        """Wait until the run is asked to stop."""
        return trio.from_thread.run(self._inner.wait_stopping, trio_token=self._token)

    def commit(self, execution_metadata: object) -> None:
        """Return once `execution_metadata` is durable."""
        trio.from_thread.run(self._inner.commit, execution_metadata)

    def commit_after(self, effect: Callable[[], Result[T, E]], next: object) -> Result[T, E]:
        """Run `effect`, then commit `next` if it succeeded."""
        answer = effect()
        # By token, the commit runs outside the task's own scope: a cancel cannot come between effect and commit.
        trio.from_thread.run(self._inner.commit_answer, answer, next, trio_token=self._token)
        return answer

    def commit_with(self, effect: Callable[[Transaction], Result[T, E]], next: object) -> Result[T, E]:
        """Run `effect` in the transaction that commits `next`."""
        return trio.from_thread.run(self._inner.commit_with, effect, next)

    def report(self, fraction: float, note: str = "") -> None:
        """Tell people how far the run is."""
        try:
            trio.from_thread.run_sync(self._inner.report, fraction, note)
        except trio.Cancelled:  # noqa: ASYNC103 (a report never fails the task; its next wait will raise it again)
            return  # noqa: ASYNC104


def _resolved(next: object, value: object) -> object:
    return cast("Callable[[object], object]", next)(value) if callable(next) else next
