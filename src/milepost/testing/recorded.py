"""An execution that writes down what a task does with it, for unit tests without store, executor or clock."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterable
from datetime import datetime
from typing import Any, Generic, TypeVar, cast, final, overload

from attrs import define, field
from returns.result import Result, Success

from milepost.effects import Parameters, Statement, Transaction
from milepost.lifecycle.record import TaskId
from milepost.payload import JsonText
from milepost.results import Outcome
from milepost.tasks import AnyTask, StopKind, Stopping
from milepost.tasks.children import NO_CHILDREN, Children
from milepost.tasks.execution import TaskLog
from milepost.tasks.named_event import NamedEvent, named
from milepost.testing.offspring import recorded_children

T = TypeVar("T")
E = TypeVar("E")
X = TypeVar("X")
P = TypeVar("P")


@final
@define(eq=False)
class RecordedTransaction:
    """A transaction that remembers its statements; `rows` is what every `execute` answers."""

    statements: list[Statement] = field(factory=list[Statement])
    rows: list[tuple[Any, ...]] = field(factory=list[tuple[Any, ...]])
    connection: Any = None

    def execute(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """Remember the statement and answer `rows`."""
        self.statements.append(Statement(sql, parameters))
        return list(self.rows)


@final
@define(eq=False)
class RecordedExecution(Generic[X]):
    """Fits where an `Execution[X]` or, by its `blocking` twin, a `BlockingExecution[X]` is asked for.

    `commits` are the committed values in order, `reports` the reported fractions and notes, `transaction` what effects
    of `commit_with` run in. Set `stopping` before the call to see how the task takes being asked to stop. `children`
    are what it has waited for, `scheduled_at` is the instant of its schedule.
    """

    start: X
    id: TaskId = TaskId("00000000-0000-7000-8000-000000000000")  # noqa: RUF009 (a NewType call makes no object)
    attempt: int = 1
    key: str | None = None
    stopping: Stopping | None = None
    transaction: Transaction = field(factory=RecordedTransaction)
    commits: list[X] = field(factory=list[Any])
    reports: list[tuple[float, str]] = field(factory=list[tuple[float, str]])
    children: Children = NO_CHILDREN
    scheduled_at: datetime | None = None
    _received: tuple[str, JsonText] | None = field(default=None, alias="received")

    @overload
    def received(self, event: NamedEvent[P]) -> P | None: ...
    @overload
    def received(self, event: str) -> Any: ...
    def received(self, event: NamedEvent[Any] | str) -> Any:
        """What came with the event, if it is the one that was received."""
        known = named(event)
        if self._received is None or self._received[0] != known.name:
            return None
        return known.read(self._received[1])

    @property
    def idempotency_key(self) -> str:
        """New after each commit, as in production."""
        return f"{self.id}:{len(self.commits)}"

    @property
    def log(self) -> TaskLog:
        """The logger `milepost.task`."""
        return TaskLog(logging.getLogger("milepost.task"), {"task_id": self.id, "attempt": self.attempt})

    @property
    def blocking(self) -> BlockingRecordedExecution[X]:
        """The same recording for a blocking task."""
        return BlockingRecordedExecution(self)

    async def wait_stopping(self) -> Stopping:
        """What `stopping` is set to; a shutdown if it is not set, so that no test waits for ever."""
        return self.stopping or Stopping(StopKind.SHUTDOWN)

    async def commit(self, execution_metadata: X) -> None:
        """Record a commit."""
        self.commits.append(execution_metadata)

    async def commit_after(
        self, effect: Callable[[], Coroutine[Any, Any, Result[T, E]]], next: X | Callable[[T], X]
    ) -> Result[T, E]:
        """Run the effect and record the commit that follows its success."""
        return self.record(await effect(), next)

    async def commit_with(
        self, effect: Callable[[Transaction], Result[T, E]], next: X | Callable[[T], X]
    ) -> Result[T, E]:
        """Run the effect in `transaction` and record the commit that belongs to it."""
        return self.record_with(effect, next)

    def report(self, fraction: float, note: str = "") -> None:
        """Record a report."""
        self.reports.append((fraction, note))

    def record(self, answer: Result[T, E], next: X | Callable[[T], X]) -> Result[T, E]:
        """Record the commit that a successful answer is followed by."""
        if isinstance(answer, Success):
            value: Any = next
            self.commits.append(cast("Callable[[object], X]", value)(answer.unwrap()) if callable(value) else value)
        return answer

    def record_with(self, effect: Callable[[Transaction], Result[T, E]], next: X | Callable[[T], X]) -> Result[T, E]:
        """Run the effect in `transaction`; without a commit it is rolled back, so its statements do not count."""
        transaction, before = self.transaction, len(self.commits)
        statements = transaction.statements if isinstance(transaction, RecordedTransaction) else []
        kept = len(statements)
        try:
            return self.record(effect(transaction), next)
        finally:
            if len(self.commits) == before:
                del statements[kept:]


@final
@define(eq=False)
class BlockingRecordedExecution(Generic[X]):
    """The blocking twin of a `RecordedExecution`, over the same recording."""

    recording: RecordedExecution[X]

    @property
    def id(self) -> TaskId:
        """The task's id."""
        return self.recording.id

    @property
    def attempt(self) -> int:
        """From 1."""
        return self.recording.attempt

    @property
    def key(self) -> str | None:
        """The request's own key."""
        return self.recording.key

    @property
    def scheduled_at(self) -> datetime | None:
        """What the recording says."""
        return self.recording.scheduled_at

    @property
    def idempotency_key(self) -> str:
        """New after each commit, as in production."""
        return self.recording.idempotency_key

    @property
    def children(self) -> Children:
        """What the recording has."""
        return self.recording.children

    @overload
    def received(self, event: NamedEvent[P]) -> P | None: ...
    @overload
    def received(self, event: str) -> Any: ...
    def received(self, event: NamedEvent[Any] | str) -> Any:
        """What the recording has."""
        return self.recording.received(event)

    @property
    def log(self) -> TaskLog:
        """The logger `milepost.task`."""
        return self.recording.log

    @property
    def stopping(self) -> Stopping | None:
        """What the recording says."""
        return self.recording.stopping

    def wait_stopping(self) -> Stopping:
        """As the recording's."""
        return self.stopping or Stopping(StopKind.SHUTDOWN)

    def commit(self, execution_metadata: X) -> None:
        """Record a commit."""
        self.recording.commits.append(execution_metadata)

    def commit_after(self, effect: Callable[[], Result[T, E]], next: X | Callable[[T], X]) -> Result[T, E]:
        """Run the effect and record the commit that follows its success."""
        return self.recording.record(effect(), next)

    def commit_with(self, effect: Callable[[Transaction], Result[T, E]], next: X | Callable[[T], X]) -> Result[T, E]:
        """Run the effect in the recording's transaction and record the commit that belongs to it."""
        return self.recording.record_with(effect, next)

    def report(self, fraction: float, note: str = "") -> None:
        """Record a report."""
        self.recording.report(fraction, note)


def recorded_execution(
    execution_metadata: X,
    *,
    children: Iterable[tuple[AnyTask, Outcome[Any, Any]]] = (),
    scheduled_at: datetime | None = None,
    received: tuple[NamedEvent[P] | str, P] | None = None,
) -> RecordedExecution[X]:
    """An execution for a direct call of a task in a test.

    `children` are what it has waited for: tasks with their outcomes, as `[(add, Success(3)), (add, Crash(...))]`.
    `scheduled_at` is the instant of its schedule, `received` the event that it has waited for, with what came, as
    `(paid, Payment(700))`; None, as where it has waited in vain.

    >>> recorded_execution(3).commits
    []
    """
    return RecordedExecution(
        execution_metadata,
        children=recorded_children(children),
        scheduled_at=scheduled_at,
        received=None if received is None else _sent(*received),
    )


def _sent(event: NamedEvent[P] | str, payload: P) -> tuple[str, JsonText]:
    known = named(event)
    return known.name, known.write(payload)
