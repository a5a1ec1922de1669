"""A `BlockingClient` as a trio program would use it, and the tasks that the tests of both clients share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeAlias, TypeVar, final

import trio
from attrs import frozen
from returns.result import Result

from milepost import (
    BlockingClient,
    BlockingGroupHandle,
    BlockingTaskHandle,
    BlockingTransactionClient,
    BulkSummary,
    CancelAccepted,
    CancelRefused,
    Client,
    DeleteRefused,
    EnqueueRefusal,
    ExecutorInfo,
    Gate,
    HistoryEvent,
    LogLine,
    NamedEvent,
    Outcome,
    PayloadRefused,
    ProceedRefused,
    PruneSummary,
    QueueInfo,
    QueueSettings,
    RequeueRefused,
    Retention,
    Schedule,
    ScheduleInfo,
    ScheduleNotFound,
    ScheduleSync,
    SentTo,
    Store,
    Success,
    TaskHandle,
    TaskId,
    TaskNotFound,
    TaskPage,
    TaskQuery,
    TaskRecord,
    TaskRequest,
    TaskResult,
    TriggerRefused,
    task,
)

T = TypeVar("T")
AnyRequest: TypeAlias = TaskRequest[Any, Any, Any, Any]
AnySchedule: TypeAlias = Schedule[Any, Any, Any, Any]
AnyHandle: TypeAlias = TaskHandle[Any, Any] | BlockingTaskHandle[Any, Any]


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


@frozen
class Part:
    sku: str
    color: Color = Color.RED


@frozen
class Order:
    id: int | str
    part: Part = Part("bolt")
    at: datetime = datetime(2030, 1, 1, tzinfo=UTC)
    tags: tuple[str, ...] = ()


@frozen
class Progress:
    page: int = 0
    part: Part | None = None


@task
def ship(metadata: Order, progress: Progress) -> TaskResult[Part, str]:
    return Success.with_result(metadata.part).for_error(str)


@task
def bill(metadata: Order, progress: Progress) -> TaskResult[int, str]:
    return Success.with_result(progress.page).for_error(str)


@final
class Threaded:
    """The verbs of a `BlockingClient`, each called in a thread."""

    def __init__(self, inner: BlockingClient) -> None:
        self.inner = inner
        self.store: Store = inner.store

    async def executors(self) -> list[ExecutorInfo]:
        return await _in_thread(self.inner.executors)

    async def enqueue(
        self, request: AnyRequest, *, timeout_seconds: float | None = None
    ) -> BlockingTaskHandle[Any, Any]:
        return await _in_thread(lambda: self.inner.enqueue(request, timeout_seconds=timeout_seconds))

    async def enqueue_all(
        self, requests: Iterable[AnyRequest], *, timeout_seconds: float | None = None
    ) -> list[BlockingTaskHandle[Any, Any]]:
        return await _in_thread(lambda: self.inner.enqueue_all(requests, timeout_seconds=timeout_seconds))

    async def try_enqueue(
        self, request: AnyRequest, *, timeout_seconds: float | None = None
    ) -> Result[BlockingTaskHandle[Any, Any], EnqueueRefusal]:
        return await _in_thread(lambda: self.inner.try_enqueue(request, timeout_seconds=timeout_seconds))

    async def try_enqueue_all(
        self, requests: Iterable[AnyRequest], *, timeout_seconds: float | None = None
    ) -> Result[list[BlockingTaskHandle[Any, Any]], EnqueueRefusal]:
        return await _in_thread(lambda: self.inner.try_enqueue_all(requests, timeout_seconds=timeout_seconds))

    async def pause_queue(self, name: str, *, reason: str = "") -> QueueSettings:
        return await _in_thread(lambda: self.inner.pause_queue(name, reason=reason))

    async def resume_queue(self, name: str) -> QueueSettings:
        return await _in_thread(lambda: self.inner.resume_queue(name))

    async def set_queue(self, name: str, **changes: Any) -> QueueSettings:
        return await _in_thread(lambda: self.inner.set_queue(name, **changes))

    async def queues(self) -> list[QueueInfo]:
        return await _in_thread(self.inner.queues)

    def within(self, connection: object) -> BlockingTransactionClient:
        return self.inner.within(connection)

    async def get(self, id: TaskId) -> Result[TaskRecord, TaskNotFound]:
        return await _in_thread(lambda: self.inner.get(id))

    async def search(self, query: TaskQuery[Any]) -> TaskPage:
        return await _in_thread(lambda: self.inner.search(query))

    async def count(self, query: TaskQuery[Any]) -> int:
        return await _in_thread(lambda: self.inner.count(query))

    async def history(self, id: TaskId) -> list[HistoryEvent]:
        return await _in_thread(lambda: self.inner.history(id))

    async def explain(self, id: TaskId) -> Result[tuple[Gate, ...] | None, TaskNotFound]:
        return await _in_thread(lambda: self.inner.explain(id))

    async def wait(self, target: Any, *, timeout_seconds: float | None = None) -> Outcome[Any, Any]:
        def wait() -> Outcome[Any, Any]:
            outcome: Outcome[Any, Any] = self.inner.wait(target, timeout_seconds=timeout_seconds)
            return outcome

        return await _in_thread(wait)

    async def proceed(
        self, target: Any, *, modify: Callable[[Any], object] | None = None, at: datetime | None = None, **told: str
    ) -> Result[TaskRecord, ProceedRefused]:
        def proceed() -> Result[TaskRecord, ProceedRefused]:
            answer: Result[TaskRecord, ProceedRefused] = self.inner.proceed(target, modify=modify, at=at, **told)
            return answer

        return await _in_thread(proceed)

    async def enqueue_group(self, *args: Any, **named: Any) -> BlockingGroupHandle[Any, Any]:
        return await _in_thread(lambda: self.inner.enqueue_group(*args, **named))

    async def cancel(
        self, id: TaskId | AnyHandle, *, reason: str = "", by: str = "", descendants: bool = False
    ) -> Result[CancelAccepted, CancelRefused]:
        return await _in_thread(lambda: self.inner.cancel(id, reason=reason, by=by, descendants=descendants))

    async def requeue(
        self,
        id: TaskId | AnyHandle,
        *,
        from_start: bool = False,
        edit: Callable[[Any, Any], tuple[Any, Any]] | None = None,
        reason: str = "",
        by: str = "",
        descendants: bool = False,
    ) -> Result[TaskRecord, RequeueRefused]:
        named: dict[str, Any] = {"from_start": from_start, "edit": edit, "reason": reason, "by": by}
        target: Any = id
        return await _in_thread(lambda: self.inner.requeue(target, descendants=descendants, **named))

    async def delete(self, id: TaskId, *, reason: str = "", by: str = "") -> Result[TaskRecord, DeleteRefused]:
        return await _in_thread(lambda: self.inner.delete(id, reason=reason, by=by))

    async def cancel_all(self, query: TaskQuery[Any], **named: Any) -> BulkSummary:
        return await _in_thread(lambda: self.inner.cancel_all(query, **named))

    async def requeue_all(self, query: TaskQuery[Any], **named: Any) -> BulkSummary:
        return await _in_thread(lambda: self.inner.requeue_all(query, **named))

    async def delete_all(self, query: TaskQuery[Any], **named: Any) -> BulkSummary:
        return await _in_thread(lambda: self.inner.delete_all(query, **named))

    async def proceed_all(self, query: TaskQuery[Any], **named: Any) -> BulkSummary:
        return await _in_thread(lambda: self.inner.proceed_all(query, **named))

    async def schedule(self, schedule: AnySchedule) -> Result[ScheduleInfo, PayloadRefused]:
        return await _in_thread(lambda: self.inner.schedule(schedule))

    async def sync_schedules(
        self, schedules: Iterable[AnySchedule], *, prune: bool = False
    ) -> Result[ScheduleSync, PayloadRefused]:
        return await _in_thread(lambda: self.inner.sync_schedules(schedules, prune=prune))

    async def unschedule(self, target: str | AnySchedule) -> Result[ScheduleInfo, ScheduleNotFound]:
        return await _in_thread(lambda: self.inner.unschedule(target))

    async def pause_schedule(self, target: str | AnySchedule) -> Result[ScheduleInfo, ScheduleNotFound]:
        return await _in_thread(lambda: self.inner.pause_schedule(target))

    async def resume_schedule(self, target: str | AnySchedule) -> Result[ScheduleInfo, ScheduleNotFound]:
        return await _in_thread(lambda: self.inner.resume_schedule(target))

    async def trigger(self, target: str | AnySchedule) -> Result[TaskId, TriggerRefused]:
        return await _in_thread(lambda: self.inner.trigger(target))

    async def schedules(self) -> list[ScheduleInfo]:
        return await _in_thread(self.inner.schedules)

    async def send_event(self, event: NamedEvent[Any] | str, key: str, payload: object, **named: Any) -> SentTo:
        return await _in_thread(lambda: self.inner.send_event(event, key, payload, **named))

    async def logs(self, id: TaskId, *, after: LogLine | None = None, limit: int | None = None) -> list[LogLine]:
        return await _in_thread(lambda: self.inner.logs(id, after=after, limit=limit))

    async def prune(self, retention: Retention) -> PruneSummary:
        return await _in_thread(lambda: self.inner.prune(retention))


AnyClient: TypeAlias = Client | Threaded


async def _in_thread(function: Callable[[], T]) -> T:
    return await trio.to_thread.run_sync(function)
