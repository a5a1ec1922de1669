"""Threads that own something only one thread may touch, such as a database connection, and answer calls about it.

In come jobs from trio tasks and from plain threads, through one queue; a worker answers them in batches of whatever has
gathered, with no timer. A job that still waits may be taken back; one that was taken is always answered with what
really happened. The mechanism knows nothing of databases.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, final

import trio
from attrs import frozen

from milepost.errors import StoreClosed, StoreError

S = TypeVar("S")

BATCH_JOBS_MAX = 256


@final
@frozen
class _Sleeper:
    """A trio task that waits for its answer."""

    token: trio.lowlevel.TrioToken
    task: trio.lowlevel.Task


_Waiter: TypeAlias = "_Sleeper | threading.Event"


@final
class Job(Generic[S]):
    """One call: a function of what the thread owns, and its answer once there is one.

    `alone` keeps it out of batches; so does `within_seconds`, the time that its function may take. `durable` says that
    the answer must wait until the change would survive a power cut.
    """

    __slots__ = ("_error", "_ticket", "_value", "alone", "durable", "function", "is_answered", "within_seconds")

    def __init__(
        self,
        function: Callable[[S], Any],
        *,
        alone: bool = False,
        within_seconds: float | None = None,
        durable: bool = True,
    ) -> None:
        self.function = function
        self.alone = alone or within_seconds is not None
        self.within_seconds = within_seconds
        self.durable = durable
        self.is_answered = False
        self._ticket = threading.Lock()
        self._value: Any = None
        self._error: BaseException | None = None

    def take(self) -> bool:
        """Decide the race between the thread that would run the job and the caller who would take it back."""
        return self._ticket.acquire(blocking=False)

    def succeed(self, value: Any) -> None:
        """Answer with a value."""
        self._value = value
        self.is_answered = True

    def fail(self, error: BaseException) -> None:
        """Answer with an exception."""
        self._error = error
        self.is_answered = True

    def answer(self) -> Any:
        """The value, or raise the exception; for the caller, once it was waked."""
        error = self._error
        if error is None:
            return self._value
        try:
            raise error
        finally:
            del error, self  # the traceback would keep this frame, and the frame the error, until the collector comes


class Worker(Protocol[S]):
    """What a thread does with the jobs that it is given. Every method is called on that thread."""

    def run(self, jobs: Sequence[Job[S]]) -> None:
        """Answer each job."""
        ...

    def rest(self) -> None:
        """Called after each batch, when its callers have been waked."""
        ...

    def close(self) -> None:
        """Let go of everything; the thread ends."""
        ...


@final
@frozen
class _Call(Generic[S]):
    job: Job[S]
    waiter: _Waiter


@final
@frozen
class _Stop:
    ended: Callable[[], object]


_Order: TypeAlias = "_Call[S] | _Stop"


@final
class OwnedThreads(Generic[S]):
    """Up to `threads_max` daemon threads on one queue, each with a worker of its own; started when they are needed."""

    def __init__(
        self,
        name: str,
        hire: Callable[[], Worker[S]],
        *,
        threads_max: int = 1,
        batch_jobs_max: int = BATCH_JOBS_MAX,
    ) -> None:
        self._name = name
        self._hire = hire
        self._threads_max = threads_max
        self._batch_jobs_max = batch_jobs_max
        self._queue: queue.SimpleQueue[_Order[S]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: tuple[threading.Thread, ...] = ()
        self._unanswered = 0
        self._closed = False
        self._process = os.getpid()

    async def call(self, job: Job[S]) -> Any:
        """Have `job` done and return its answer. Cancelled while it waits, it never runs; once taken it is not."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._submit(job, _Sleeper(trio.lowlevel.current_trio_token(), trio.lowlevel.current_task()))

        def abort(_: object) -> trio.lowlevel.Abort:
            return trio.lowlevel.Abort.SUCCEEDED if self._take_back(job) else trio.lowlevel.Abort.FAILED

        # The thread's answer comes through the loop's own queue, so it cannot arrive before this task waits for it.
        await trio.lowlevel.wait_task_rescheduled(abort)
        return job.answer()

    def call_blocking(self, job: Job[S]) -> Any:
        """`call` from any thread but these; an exception in the wait takes the job back if it has not started."""
        answered = threading.Event()
        self._submit(job, answered)
        try:
            answered.wait()
        except BaseException:
            self._take_back(job)
            raise
        return job.answer()

    def includes_this(self) -> bool:
        """Whether the caller runs on one of these threads, where waiting for another call would never end."""
        return threading.current_thread() in self._threads

    def pending(self) -> int:
        """How many jobs wait or run."""
        return self._unanswered

    async def aclose(self) -> None:
        """`close` without blocking trio's thread, whatever is cancelled meanwhile."""
        token = trio.lowlevel.current_trio_token()
        ends = [trio.Event() for _ in self._threads]
        self._stop(lambda index: lambda: _tell(token, ends[index].set))
        with trio.CancelScope(shield=True):
            for thread, end in zip(self._threads, ends, strict=True):
                if thread.is_alive() and self._process == os.getpid():
                    await end.wait()
        self._join()

    def close(self) -> None:
        """Answer what was asked so far, then end the threads. May be called twice."""
        if self.includes_this():
            raise StoreError("a store cannot be closed from inside one of its own transactions; close it outside")
        self._stop(lambda _: lambda: None)
        self._join()

    def _submit(self, job: Job[S], waiter: _Waiter) -> None:
        if self._process != os.getpid():
            raise StoreError("the store was opened before this process was forked; open it again in this process")
        with self._lock:
            if self._closed:
                raise StoreClosed("the store is closed; use it inside its `open_store` block")
            if self._unanswered >= len(self._threads) and len(self._threads) < self._threads_max:
                self._start_thread()
            self._unanswered += 1
            self._queue.put(_Call(job, waiter))

    def _take_back(self, job: Job[S]) -> bool:
        if not job.take():
            return False
        with self._lock:
            self._unanswered -= 1
        return True

    def _start_thread(self) -> None:
        name = self._name if self._threads_max == 1 else f"{self._name}-{len(self._threads) + 1}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        thread.start()
        self._threads = (*self._threads, thread)

    def _stop(self, ended: Callable[[int], Callable[[], object]]) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                for index in range(len(self._threads)):
                    self._queue.put(_Stop(ended(index)))

    def _join(self) -> None:
        if self._process == os.getpid():
            for thread in self._threads:
                thread.join()

    def _work(self) -> None:
        worker = self._hire()
        stop: _Stop | None = None
        try:
            for batch in self._batches():
                if isinstance(batch, _Stop):
                    stop = batch
                    return
                self._answer(worker, batch)
                worker.rest()
        finally:
            worker.close()
            if stop is not None:
                stop.ended()

    def _answer(self, worker: Worker[S], calls: Sequence[_Call[S]]) -> None:
        try:
            worker.run([call.job for call in calls])
        # A thread that died would leave every later caller waiting for ever, and there is no trio in it to cancel it.
        except BaseException as error:  # noqa: ASYNC103
            for call in calls:
                if not call.job.is_answered:
                    call.job.fail(error)
        with self._lock:
            self._unanswered -= len(calls)
        _wake(calls)

    def _batches(self) -> Iterator[Sequence[_Call[S]] | _Stop]:
        """Whatever has gathered, in order; jobs that go alone and the end of the queue by themselves."""
        waiting: deque[_Order[S]] = deque()
        while True:
            order = waiting.popleft() if waiting else self._queue.get()
            if isinstance(order, _Stop):
                yield order
                return
            batch = [order] if order.job.take() else []
            while batch and not batch[0].job.alone and len(batch) < self._batch_jobs_max:
                try:
                    order = self._queue.get_nowait()
                except queue.Empty:
                    break
                if isinstance(order, _Stop) or order.job.alone:
                    waiting.append(order)
                    break
                if order.job.take():
                    batch.append(order)
            if batch:
                yield batch


def _wake(calls: Iterable[_Call[Any]]) -> None:
    asleep: dict[trio.lowlevel.TrioToken, list[trio.lowlevel.Task]] = {}
    for call in calls:
        if isinstance(call.waiter, _Sleeper):
            asleep.setdefault(call.waiter.token, []).append(call.waiter.task)
        else:
            call.waiter.set()
    for token, tasks in asleep.items():
        _tell(token, _reschedule, tasks)


def _reschedule(tasks: Iterable[trio.lowlevel.Task]) -> None:
    for task in tasks:
        trio.lowlevel.reschedule(task)


def _tell(token: trio.lowlevel.TrioToken, function: Callable[..., object], *arguments: object) -> None:
    try:
        token.run_sync_soon(function, *arguments)
    except trio.RunFinishedError:
        return  # the callers' trio has ended, and they with it
