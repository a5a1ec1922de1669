"""A process in which tasks run, that can be stopped dead: a thread with an event loop of its own.

Stopped means stopped: no `finally`, no `except` and no other task of it runs any more. The thread stands still at the
cut until everything has been looked at, and only then is it let go, to unwind where nobody looks.
"""

from __future__ import annotations

import linecache
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, Final, TypeVar, final

import trio
from attrs import frozen
from returns.result import Failure, Result

from milepost.testing.clock import VirtualClock
from milepost.testing.crash_report import CutAt

T = TypeVar("T")
E = TypeVar("E")

_LETTING_GO_SECONDS: Final = 5.0
_OURS: Final = tuple(
    os.path.dirname(os.path.abspath(str(sys.modules[name].__file__))) + os.sep for name in ("milepost", "trio")
)
_OTHERS: Final = (f"{os.sep}outcome{os.sep}", f"{os.sep}threading.py", "<")


class Killed(BaseException):
    """Unwinds the code of a process that is dead."""


@final
class Process(trio.abc.Instrument):
    """Runs `function` on a clock of its own, until it returns or `stop` is called within it."""

    def __init__(self, clock: VirtualClock, at_checkpoint: Callable[[str], None] | None) -> None:
        self.clock = clock
        self.dead = False
        self._at_checkpoint = at_checkpoint
        self._error: BaseException | None = None
        self._stopped = threading.Event()
        self._let_go = threading.Event()
        self._scope = trio.CancelScope()
        self._thread: threading.Thread | None = None

    def run(self, function: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Whether it ran to its end; False: it was stopped. Raises what `function` raises."""
        self._thread = threading.Thread(target=self._run, args=(function,), name="milepost-cut", daemon=True)
        self._thread.start()
        self._stopped.wait()
        if self._error is not None:
            raise self._error
        return not self.dead

    def stop(self) -> None:
        """The calling thread, and with it the process, stands still; once it is let go, it unwinds by `Killed`."""
        self.dead = True
        self._stopped.set()
        self._let_go.wait()
        self._unwind()

    def check(self) -> None:
        """Raise `Killed` in what still unwinds of a dead process."""
        if self.dead:
            self._unwind()

    def let_go(self) -> None:
        """Nobody looks any more at what the process can reach: let its code unwind."""
        self._let_go.set()
        if self._thread is not None:
            self._thread.join(_LETTING_GO_SECONDS)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """A task of the process waits, or has only come to a checkpoint."""
        if self._at_checkpoint is None or self.dead:
            return
        line = _line_of_task(task)
        if line:
            try:
                self._at_checkpoint(line)
            except Killed:  # trio would switch off an instrument that raises, and the scope is cancelled already
                return

    def _unwind(self) -> None:
        if threading.current_thread() is self._thread:
            self._scope.cancel()
        raise Killed

    def _run(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            with self._scope:
                await function()

        instruments = [] if self._at_checkpoint is None else [self]
        try:
            trio.run(main, clock=self.clock, instruments=instruments)
        except BaseException as error:  # noqa: ASYNC103 (`run` raises it, in the thread that waits for this one)
            if not self.dead:
                self._error = error
        finally:
            self._stopped.set()


@frozen(eq=False)
class _Cutting:
    """An execution with whoever is told of the effects of its `commit_after`, and of the lines that call it."""

    _inner: Any
    _tell: Callable[[CutAt | str], None]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@final
class CuttingExecution(_Cutting):
    """The `Execution` of an async task that may be cut."""

    async def commit(self, execution_metadata: object) -> None:
        self._tell(_calling_line())
        await self._inner.commit(execution_metadata)

    async def commit_with(self, effect: object, next: object) -> Any:
        self._tell(_calling_line())
        return await self._inner.commit_with(effect, next)

    async def commit_after(self, effect: Callable[[], Coroutine[Any, Any, Result[T, E]]], next: object) -> Any:
        self._tell(_calling_line())

        async def told() -> Result[T, E]:
            self._tell(CutAt.BEFORE_EFFECT)
            answer = await effect()
            if isinstance(answer, Failure):
                self._tell(CutAt.AFTER_EFFECT)
            return answer

        return await self._inner.commit_after(told, next)


@final
class CuttingBlockingExecution(_Cutting):
    """The `BlockingExecution` of a blocking task that may be cut."""

    def commit(self, execution_metadata: object) -> None:
        self._tell(_calling_line())
        self._inner.commit(execution_metadata)

    def commit_with(self, effect: object, next: object) -> Any:
        self._tell(_calling_line())
        return self._inner.commit_with(effect, next)

    def commit_after(self, effect: Callable[[], Result[T, E]], next: object) -> Any:
        self._tell(_calling_line())

        def told() -> Result[T, E]:
            self._tell(CutAt.BEFORE_EFFECT)
            answer = effect()
            if isinstance(answer, Failure):
                self._tell(CutAt.AFTER_EFFECT)
            return answer

        return self._inner.commit_after(told, next)


def _calling_line() -> str:
    """The line of the user's code that is being run."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        if _is_users(frame):
            return _line(frame)
        frame = frame.f_back
    return ""


def _line_of_task(task: trio.lowlevel.Task) -> str:
    """The line of the user's code at which a task of trio waits; none for those that are not the user's."""
    found = ""
    waiting: Any = task.coro
    while waiting is not None:
        frame = next((frame for kind in ("cr", "gi", "ag") if (frame := getattr(waiting, f"{kind}_frame", None))), None)
        if frame is not None and _is_users(frame):
            found = _line(frame)
        waiting = next(
            (on for name in ("cr_await", "gi_yieldfrom", "ag_await") if (on := getattr(waiting, name, None))), None
        )
    return found


def _is_users(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return not file.startswith(_OURS) and not any(part in file for part in _OTHERS)


def _line(frame: FrameType) -> str:
    file, number = frame.f_code.co_filename, frame.f_lineno
    return f"{os.path.basename(file)}:{number}: {linecache.getline(file, number).strip()}"
