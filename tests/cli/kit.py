"""A `milepost` program in a folder of its own, with an app to run, and what it said."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from typing import final

from milepost import BlockingClient, ExecutorInfo
from tests.executor.kit import PATIENCE_SECONDS

APP = '''
import os, time
from milepost import Success, TaskResult, task

@task
def double(metadata: int, progress: int) -> TaskResult[int, str]:
    print("doubling", metadata, flush=True)
    return Success.with_result(2 * metadata).for_error(str)

@task(blocking=True)
def nap(metadata: str, progress: int) -> TaskResult[int, str]:
    """Say that it runs, then wait until it may end."""
    open(metadata + ".began", "w").close()
    while not os.path.exists(metadata + ".may-end"):
        time.sleep(0.005)
    return Success.with_result(os.getpid()).for_error(str)

tasks = [double, nap]
'''
SECONDS = 6 * PATIENCE_SECONDS
"""How long a process may take to come up, on a busy machine."""


@final
class Program:
    """A running `milepost`, and every line that it and its workers print."""

    def __init__(self, folder: Path, *arguments: str, path: Path | None = None) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MILEPOST_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "milepost", *arguments],
            cwd=folder,
            env={**environment, "PYTHONWARNINGS": "error", "PYTHONPATH": str(path or "")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said: list[str] = []
        self._lines: Queue[str | None] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def until_said(self, part: str) -> str:
        """Wait for a line with `part` in it that was not waited for yet."""
        while True:
            try:
                line = self._lines.get(timeout=SECONDS)
            except Empty:
                raise AssertionError(f"nobody said {part!r} but {self.said}") from None
            if line is None:
                raise AssertionError(f"it ended without saying {part!r} but {self.said}")
            if part in line:
                return line

    def signal(self, number: int) -> None:
        """Send a signal to the supervisor alone."""
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for its end; its exit code."""
        code = self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        return code

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.said.append(line.rstrip())
            self._lines.put(line)
        self._lines.put(None)


@contextmanager
def running(folder: Path, *arguments: str, path: Path | None = None) -> Generator[Program]:
    """`milepost` while the block lasts; nothing of it is left afterwards."""
    (folder / "jobs.py").write_text(APP)
    program = Program(folder, *arguments, path=path)
    try:
        yield program
    finally:
        # Without its supervisor a worker ends by itself.
        program.process.kill()
        program.end()
        if program.process.stdout is not None:
            program.process.stdout.close()


def run_arguments(url: str, processes: int, *more: str, app: str = "jobs:tasks") -> tuple[str, ...]:
    """What runs an app, the kit's if no other is named, on the store at `url`."""
    leases = ("--lease-seconds", "1", "--poll-seconds", "0.05")
    return ("run", "--app", app, "--store", url, "--processes", str(processes), *leases, *more)


def alive(client: BlockingClient) -> list[ExecutorInfo]:
    """The executors whose lease holds."""
    return [executor for executor in client.executors() if executor.is_alive]


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Look until `condition` holds."""
    pause = threading.Event()
    for _ in range(round(SECONDS / 0.01)):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError(f"it never came to {what}")


def is_process(pid: int) -> bool:
    """Whether there is a living process `pid`."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
