"""What the demo shows: one live line on a terminal, plain lines elsewhere, and the report at the end."""

from __future__ import annotations

import json
import os
import time
from typing import Final, TextIO

import attrs
from attrs import define, field, frozen

_BAR_CELLS: Final = 30
_REDRAW_SECONDS: Final = 0.05
_BOLD, _RED, _GREEN, _PLAIN = "1", "31", "32", "0"


@frozen
class Killed:
    """One kill: which process, after how many files, and the milepost of each task at that moment."""

    pid: int
    files_done: int
    next_files: tuple[int, ...]
    shard_files: tuple[int, ...]


@frozen(kw_only=True)
class Report:
    """What came of it: the table compared with the uncut walk, row by row."""

    variant: str
    seed: int
    files: int
    expected_files: int
    tasks: int
    symbols: int
    unparsable: int
    killed: tuple[Killed, ...]
    rows_lost: int
    rows_repeated: int
    seconds: float

    @property
    def is_whole(self) -> bool:
        """Whether every row is there once."""
        return self.rows_lost == 0 and self.rows_repeated == 0 and self.files == self.expected_files

    def as_json(self) -> str:
        """The report for programs."""
        return json.dumps({**attrs.asdict(self), "ok": self.is_whole})


@define
class Display:
    """Writes to `stream`; `live` draws a line over itself, `colored` uses colours."""

    stream: TextIO
    live: bool
    colored: bool
    _started_at: float = field(factory=time.monotonic)
    _drawn_at: float = 0.0
    _drawn: int = 0

    @classmethod
    def on(cls, stream: TextIO) -> Display:
        """A display that fits `stream`: live on a terminal, coloured there unless NO_COLOR is set."""
        live = stream.isatty() and os.environ.get("TERM") != "dumb"
        return cls(stream, live=live, colored=live and not os.environ.get("NO_COLOR"))

    def tell(self, text: str) -> None:
        """Say that something happened, with the time since the start."""
        color = _RED if "killed" in text else _GREEN if "took over" in text else _PLAIN
        seconds = time.monotonic() - self._started_at
        self._clear()
        self._write(f"{seconds:6.1f} s  {self._painted(text, color)}\n")

    def progress(self, done: int, total: int, pid: int) -> None:
        """Draw how far the files are; nothing where there is no terminal."""
        now = time.monotonic()
        if not self.live or now - self._drawn_at < _REDRAW_SECONDS:
            return
        self._drawn_at = now
        cells = _BAR_CELLS * done // total
        rate = done / max(now - self._started_at, 0.001)
        line = f"[{'#' * cells}{'.' * (_BAR_CELLS - cells)}] {done:,}/{total:,} files  {rate:,.0f}/s  worker {pid}"
        self._clear()
        self._write(line)
        self._drawn = len(line)

    def conclude(self, report: Report) -> None:
        """Show the report."""
        self._clear()
        errors = f", {report.unparsable} of them do not parse" if report.unparsable else ""
        lines = [
            ("files", f"{report.files:,} of {report.expected_files:,} in {report.tasks} tasks{errors}"),
            ("symbols", f"{report.symbols:,} rows, {report.variant}"),
            *(line for killed in report.killed for line in _resumed(killed)),
            ("rows lost", self._verdict(report.rows_lost)),
            ("rows repeated", self._verdict(report.rows_repeated)),
            ("time", f"{report.seconds:.1f} s"),
            ("seed", str(report.seed)),
        ]
        self._write("\n" + "".join(f"{name:<14} {value}\n" for name, value in lines))

    def _verdict(self, rows: int) -> str:
        return self._painted(f"{rows:,}", _RED if rows else _GREEN)

    def _painted(self, text: str, color: str) -> str:
        return f"\x1b[{color}m{text}\x1b[0m" if self.colored and color != _PLAIN else text

    def _clear(self) -> None:
        if self._drawn:
            self._write("\r" + " " * self._drawn + "\r")
            self._drawn = 0

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


def _resumed(killed: Killed) -> list[tuple[str, str]]:
    mileposts = " ".join(f"{file}/{of}" for file, of in zip(killed.next_files, killed.shard_files, strict=True))
    return [("killed", f"worker {killed.pid} at file {killed.files_done:,}"), ("went on from", mileposts)]
