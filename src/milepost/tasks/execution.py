"""What a running task may ask of its executor: commit progress, and learn who it is and whether it should stop.

The rule of progress: persist the effect first, commit second. A killed task goes on from its last commit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from datetime import datetime
from enum import Enum
from typing import Any, Protocol, TypeVar, final, overload

from attrs import frozen
from returns.result import Result
from typing_extensions import TypeVar as DefaultTypeVar

from milepost.effects import Transaction
from milepost.lifecycle.record import TaskId
from milepost.tasks.children import Children
from milepost.tasks.named_event import NamedEvent

T = TypeVar("T")
E = TypeVar("E")
P = TypeVar("P")
X_con = DefaultTypeVar("X_con", contravariant=True, default=Any)

TaskLog = logging.LoggerAdapter[logging.Logger]


class StopKind(Enum):
    """Why a run is asked to stop."""

    CANCELLED = "cancelled"
    SHUTDOWN = "shutdown"
    TIMEOUT = "timeout"
    DEADLINE = "deadline"
    CLAIM_LOST = "claim lost"


@final
@frozen
class Stopping:
    """Why this run is asked to stop; `reason` is what was given to `cancel`, else empty."""

    kind: StopKind
    reason: str = ""


class Execution(Protocol[X_con]):
    """The third parameter of an `async def` task."""

    @property
    def id(self) -> TaskId:
        """The task's id."""
        ...

    @property
    def attempt(self) -> int:
        """From 1; raised by failures only, not by suspensions, interruptions or reclaims."""
        ...

    @property
    def key(self) -> str | None:
        """The request's own key."""
        ...

    @property
    def scheduled_at(self) -> datetime | None:
        """The instant, in UTC, for which a schedule enqueued this task; None for others, and where it was triggered.

        The same in every run, however late it is.
        """
        ...

    @property
    def idempotency_key(self) -> str:
        """Stable at this committed position: the same after a crash, new after the next commit. For APIs outside."""
        ...

    @property
    def children(self) -> Children:
        """The outcomes of the tasks that this one waited for by its last suspension, with `until_finished`; else none.

        `execution.children.of(add)` gives those of one task, typed. The same in every run until the next suspension.
        """
        ...

    @overload
    def received(self, event: NamedEvent[P]) -> P | None: ...
    @overload
    def received(self, event: str) -> Any: ...
    def received(self, event: NamedEvent[Any] | str) -> Any:
        """What came with the event that this task waited for by its last suspension, with `until_event`.

        None where it waited in vain, for another one, or not at all. By its bare name, plain JSON. The same in every
        run until the next suspension. Raises `InvalidPayload` for what is not of the event's type.
        """
        ...

    @property
    def log(self) -> TaskLog:
        """A standard logger whose records carry `task_id`, `task_name` and `attempt`."""
        ...

    @property
    def stopping(self) -> Stopping | None:
        """Why the run is asked to stop; None while it is not."""
        ...

    async def wait_stopping(self) -> Stopping:
        """Wait until the run is asked to stop. The request also cancels the run's scope, so wait under a shield."""
        ...

    async def commit(self, execution_metadata: X_con) -> None:
        """Return once `execution_metadata` is durable: later runs start from it. Commits are strictly ordered.

        Raises `ClaimLost` when the task belongs to another run by now, and ValueError for what cannot be encoded.
        """
        ...

    async def commit_after(
        self, effect: Callable[[], Coroutine[Any, Any, Result[T, E]]], next: X_con | Callable[[T], X_con]
    ) -> Result[T, E]:
        """Run `effect` and, only on its success, commit `next` (a value, or a function of what the effect gave).

        Once the effect has returned, neither cancel nor shutdown comes between it and its commit.
        """
        ...

    async def commit_with(
        self, effect: Callable[[Transaction], Result[T, E]], next: X_con | Callable[[T], X_con]
    ) -> Result[T, E]:
        """Run the synchronous `effect` in the transaction that commits `next`: both happen, exactly once, or neither.

        A Failure of the effect, or an exception, rolls both back. It may be called again after a rollback. Raises
        `EffectTimeout` when it takes longer than the executor's `effect_seconds`.
        """
        ...

    def report(self, fraction: float, note: str = "") -> None:
        """Tell people how far the run is, from 0 to 1; the latest wins, never blocks, never fails the task."""
        ...


class BlockingExecution(Protocol[X_con]):
    """`Execution` for a blocking task, on a worker thread; its waits raise trio's Cancelled when asked to stop."""

    @property
    def id(self) -> TaskId:
        """The task's id."""
        ...

    @property
    def attempt(self) -> int:
        """As `Execution.attempt`."""
        ...

    @property
    def key(self) -> str | None:
        """As `Execution.key`."""
        ...

    @property
    def scheduled_at(self) -> datetime | None:
        """As `Execution.scheduled_at`."""
        ...

    @property
    def idempotency_key(self) -> str:
        """As `Execution.idempotency_key`."""
        ...

    @property
    def children(self) -> Children:
        """As `Execution.children`."""
        ...

    @overload
    def received(self, event: NamedEvent[P]) -> P | None: ...
    @overload
    def received(self, event: str) -> Any: ...
    def received(self, event: NamedEvent[Any] | str) -> Any:
        """As `Execution.received`."""
        ...

    @property
    def log(self) -> TaskLog:
        """As `Execution.log`."""
        ...

    @property
    def stopping(self) -> Stopping | None:
        """As `Execution.stopping`; a loop that never commits should look at it now and then."""
        ...

    def wait_stopping(self) -> Stopping:
        """As `Execution.wait_stopping`, blocking the thread."""
        ...

    def commit(self, execution_metadata: X_con) -> None:
        """As `Execution.commit`."""
        ...

    def commit_after(self, effect: Callable[[], Result[T, E]], next: X_con | Callable[[T], X_con]) -> Result[T, E]:
        """As `Execution.commit_after`, with an effect that blocks."""
        ...

    def commit_with(
        self, effect: Callable[[Transaction], Result[T, E]], next: X_con | Callable[[T], X_con]
    ) -> Result[T, E]:
        """As `Execution.commit_with`."""
        ...

    def report(self, fraction: float, note: str = "") -> None:
        """As `Execution.report`."""
        ...
