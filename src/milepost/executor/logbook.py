"""What runs log: forwarded to the standard library's logging always, and kept here until a turn stores it.

Lines are written by whatever thread a task runs on and taken by trio's. Logging never waits for the store and never
fails a task: what does not fit, or cannot be told, is dropped and counted.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

from milepost.clock import system_clock
from milepost.lifecycle.record import TaskId
from milepost.payload import legible, storable_text
from milepost.stores.protocol import Store
from milepost.stores.tables import LogLine
from milepost.tasks.execution import TaskLog

if TYPE_CHECKING:
    from milepost.executor.run import Run

MESSAGE_CHARACTERS_MAX: Final = 10_000
"""Longer messages are cut; a traceback counts as a part of its message."""

_WAITING_CHARACTERS_MAX: Final = 1 << 24
_LEVEL_MAX: Final = 1_000_000
_log = logging.getLogger("milepost.task")
_formatter = logging.Formatter()

_ExcInfo: TypeAlias = (
    bool
    | BaseException
    | tuple[type[BaseException], BaseException, TracebackType | None]
    | tuple[None, None, None]
    | None
)


@final
class LogBook:
    """The lines of all runs of one executor that no turn has stored yet."""

    def __init__(self, level: int | None, lines_max: int) -> None:
        self.lock: Final = threading.Lock()
        self.level = level
        self.lines_max = lines_max
        self._waiting: list[LogLine] = []
        self._characters = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def use(self, level: int | None, lines_max: int) -> None:
        """Store what is of `level` or above, up to `lines_max` of a run; None: nothing."""
        self.level, self.lines_max = level, lines_max

    def log_of(self, run: Run) -> TaskLog:
        """The logger of a run."""
        record = run.record
        about = {"task_id": record.id, "task_name": record.name, "attempt": record.attempt}
        if self.level is None:
            return TaskLog(_log, about)
        with self.lock:
            if run.log is None:
                run.log = RunLog(self, record.id, record.fence, run.hide)
        return _CapturedLog(_log, about, run.log)

    def put(self, line: LogLine, *, must_fit: bool = True) -> bool:
        """Keep a line for the next turn; False when too much waits already. Whoever calls it holds the lock."""
        characters = self._characters + len(line.message)
        if must_fit and characters > _WAITING_CHARACTERS_MAX:
            return False
        self._characters = characters
        self._waiting.append(line)
        return True

    def take(self) -> list[LogLine]:
        """Everything that waits, for one turn."""
        if not self._waiting:
            return []
        with self.lock:
            taken, self._waiting, self._characters = self._waiting, [], 0
        return taken

    def take_of(self, id: TaskId) -> list[LogLine]:
        """What waits of one task."""
        if not self._waiting:
            return []
        with self.lock:
            taken = [line for line in self._waiting if line.task == id]
            self._waiting = [line for line in self._waiting if line.task != id]
            self._characters -= sum(len(line.message) for line in taken)
        return taken

    def put_back(self, lines: Sequence[LogLine]) -> None:
        """A turn could not be written: its lines go first again."""
        if lines:
            with self.lock:
                self._waiting[:0] = lines
                self._characters += sum(len(line.message) for line in lines)


async def carry_lines(store: Store, lines: Sequence[LogLine]) -> None:
    """Store lines by themselves, before the ends of their runs: then they are the newest still. Tries it once."""
    try:
        if lines:
            await store.transact(lambda session: session.logs.append(lines))
    except Exception as error:
        logging.getLogger("milepost.executor").warning("%d lines of runs are lost: %s", len(lines), legible(error))


@final
class RunLog:
    """The lines of one run, counted; `hide` takes secrets out of a message."""

    def __init__(self, book: LogBook, id: TaskId, fence: int, hide: Callable[[str], str]) -> None:
        self._book = book
        self._id = id
        self._fence = fence
        self._hide = hide
        self._lines = 0
        self._dropped = 0
        self._is_open = True

    def write(self, level: object, logger: str, message: object, args: tuple[object, ...], exc_info: _ExcInfo) -> None:
        """Keep a line, if it is of the level that is stored and there is room for it."""
        wanted = self._book.level
        if wanted is None or not isinstance(level, int) or level < wanted or not self._is_open:
            return
        text = None if self._lines >= self._book.lines_max else self._told(message, args, exc_info)
        with self._book.lock:
            if not self._is_open:
                return
            if text is None or self._lines >= self._book.lines_max or not self._put(level, logger, text):
                self._dropped += 1

    def close(self) -> None:
        """The run has ended: say how many lines are missing, and take no more."""
        with self._book.lock:
            self._is_open = False
            if self._dropped:
                text = f"{self._dropped} lines of this run are missing: it keeps {self._book.lines_max} (log_lines_max)"
                self._put(logging.WARNING, "milepost.executor", text, must_fit=False)

    def _put(self, level: int, logger: str, text: str, *, must_fit: bool = True) -> bool:
        level = max(0, min(level, _LEVEL_MAX))
        line = LogLine(self._id, self._fence, self._lines, system_clock(), level, logger, text)
        fits = self._book.put(line, must_fit=must_fit)
        self._lines += fits
        return fits

    def _told(self, message: object, args: tuple[object, ...], exc_info: _ExcInfo) -> str:
        try:
            return _cut(storable_text(self._hide(_formatted(message, args, exc_info))))
        except Exception as error:  # whatever a value's own methods raise when they are asked for their text
            return _cut(f"a message that cannot be told: {type(error).__name__}: {legible(error)}")


class _CapturedLog(TaskLog):
    """A logger whose lines are kept as well, whatever level the logger itself is set to."""

    def __init__(self, logger: logging.Logger, extra: Mapping[str, object], run_log: RunLog) -> None:
        super().__init__(logger, extra)
        self._run_log = run_log

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Keep the line, then log it as ever."""
        self._run_log.write(level, self.logger.name, msg, args, kwargs.get("exc_info"))
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1  # the caller is one frame further away
        super().log(level, msg, *args, **kwargs)


def _formatted(message: object, args: tuple[object, ...], exc_info: _ExcInfo) -> str:
    text = logging.LogRecord("", 0, "", 0, message, args, None).getMessage()
    match exc_info:
        case BaseException():
            raised: Any = (type(exc_info), exc_info, exc_info.__traceback__)
        case tuple():
            raised = exc_info
        case _:
            raised = sys.exc_info() if exc_info else (None, None, None)
    return text if raised[1] is None else f"{text}\n{_formatter.formatException(raised)}"


def _cut(text: str) -> str:
    if len(text) <= MESSAGE_CHARACTERS_MAX:
        return text
    said = f"... ({len(text)} characters)"
    return text[: MESSAGE_CHARACTERS_MAX - len(said)] + said
