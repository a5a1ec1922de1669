"""Worker processes on one PostgreSQL store, each with a file of what it told; killed, frozen and thawed by a test."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import final

from attrs import frozen

ROOT = Path(__file__).resolve().parents[2]


@final
@frozen(kw_only=True)
class Setting:
    """How a process works. `prefix` is what its command runs under, such as a network namespace.

    The host's clock is `ahead_seconds` off.
    """

    url: str
    lease_seconds: float
    effect_seconds: float = 10
    ahead_seconds: float = 0
    prefix: Sequence[str] = ()

    @property
    def command(self) -> list[str]:
        """What starts it."""
        numbers = (self.lease_seconds, self.effect_seconds, self.ahead_seconds)
        module = "tests.reliability.postgres_worker"
        return [*self.prefix, sys.executable, "-m", module, self.url, *(str(each) for each in numbers)]


@final
class Worker:
    """One process."""

    def __init__(self, setting: Setting, told: Path) -> None:
        self._told = told
        with told.open("wb") as sink:
            self.process = subprocess.Popen(setting.command, stdout=sink, stderr=subprocess.STDOUT, cwd=ROOT)

    @property
    def told(self) -> Counter[str]:
        """What it has told so far, counted by line."""
        return Counter(self._told.read_text().splitlines())

    @property
    def is_up(self) -> bool:
        """Whether it has come so far as to claim."""
        return self.told["ExecutorStarted"] > 0

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self) -> None:
        """Kill it if it lives, frozen or not."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@final
class Workers:
    """All processes that a test has started."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.all: list[Worker] = []

    def start(self, setting: Setting) -> Worker:
        """A fresh interpreter."""
        worker = Worker(setting, self._folder / f"worker-{len(self.all)}.txt")
        self.all.append(worker)
        return worker

    @property
    def told(self) -> Counter[str]:
        """What all of them have told, counted."""
        return sum((worker.told for worker in self.all), Counter[str]())


@contextmanager
def workers_in(folder: Path) -> Generator[Workers]:
    """`Workers` that leave files in `folder` and no process behind."""
    workers = Workers(folder)
    try:
        yield workers
    finally:
        for worker in workers.all:
            worker.end()
