"""The supervisor of `milepost run`: starts worker processes, replaces those that end, and stops all of them as one.

The first worker goes ahead. A mistake in the app or a store that cannot be opened is so told once and not by each, and
a new schema is made by one.
"""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from typing import Final, final

import trio
from attrs import define, field, frozen

from milepost.cli.ends import ExitCode
from milepost.cli.order import DRAIN, INTERRUPT, Ready, WorkOrder
from milepost.cli.restarts import GiveUp, Leave, Past, Restart, RestartPolicy, WorkerEnd, decide

_GRACE_SECONDS: Final = 10
"""What a stop may take beyond what the executor's settings say: the store's last answer, the interpreter's end."""

Tell = Callable[[str], None]


@final
@frozen(kw_only=True)
class Plan:
    """What is to be supervised. A worker that is not ready after `start_seconds` hangs and is killed."""

    order: WorkOrder
    processes: int
    start_seconds: float = 120
    restarts: RestartPolicy = field(factory=RestartPolicy)

    @property
    def stop_seconds(self) -> float:
        """When a worker that was asked to drain must have ended."""
        return self.order.config.drain_seconds + self.order.config.cleanup_seconds + _GRACE_SECONDS


@define(eq=False)
class _Worker:
    """One process, and our end of the socket to it."""

    process: trio.Process
    link: trio.SocketStream
    ready: Ready | None = None
    ready_at: float | None = None
    _talking: trio.Lock = field(factory=trio.Lock, init=False)

    async def hear(self) -> bytes:
        try:
            return bytes(await self.link.receive_some())
        except trio.BrokenResourceError:
            return b""  # it has ended without reading all that it was told

    async def tell(self, order: bytes) -> None:
        try:
            async with self._talking:  # two signals may come at once
                await self.link.send_all(order)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # it has ended


@final
@define(eq=False)
class Supervisor:
    """One run of it; `told` says what happens to people, `ready` once that all workers hold their leases."""

    plan: Plan
    told: Tell
    ready: Tell
    _workers: dict[int, _Worker] = field(factory=dict[int, _Worker], init=False)
    _anyone_ready: trio.Event = field(factory=trio.Event, init=False)
    _stopping: trio.Event = field(factory=trio.Event, init=False)
    _is_all_told: bool = field(default=False, init=False)
    _code: int = field(default=ExitCode.DONE, init=False)

    async def run(self) -> int:
        """Keep the workers until a signal or a mistake ends it; returns the exit code."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as system:
                system.start_soon(self._heed, signals)
                system.start_soon(self._enforce_stop)
                async with trio.open_nursery() as places:
                    places.start_soon(self._keep, 0)
                    await _first_of(self._anyone_ready, self._stopping)
                    if not self._stopping.is_set():
                        for place in range(1, self.plan.processes):
                            places.start_soon(self._keep, place)
                system.cancel_scope.cancel()
        return self._code

    # One worker's place

    async def _keep(self, place: int) -> None:
        """Have a worker in this place until all are stopped."""
        failures = 0
        while not self._stopping.is_set():
            end, pid = await self._live(place)
            past = Past(failures, self._anyone_ready.is_set(), self._stopping.is_set())
            decision = decide(end, past, self.plan.restarts, chance=random.random())
            match decision:
                case Leave(was_clean):
                    if not was_clean:
                        self._end_with(ExitCode.FAILED, f"worker {place + 1} (pid {pid}) {end.told}")
                case GiveUp(code):
                    # A mistake was told by the worker itself, in one line.
                    self._end_with(code, f"worker {place + 1} {end.told}; giving up" if code == ExitCode.FAILED else "")
                case Restart(after_seconds, failures):
                    again = f"another starts in {after_seconds:.1f} seconds"
                    self.told(f"worker {place + 1} (pid {pid}) {end.told}; {again}")
                    with trio.move_on_after(after_seconds):
                        await self._stopping.wait()

    async def _live(self, place: int) -> tuple[WorkerEnd, int]:
        """Start a worker and see it to its end."""
        worker = await _start(self.plan.order)
        self._workers[place] = worker
        if self._stopping.is_set():
            await worker.tell(DRAIN)  # asked for while it was being started
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._await_ready, worker)
                await worker.process.wait()
                nursery.cancel_scope.cancel()
        finally:
            del self._workers[place]
            worker.process.kill()
            with trio.CancelScope(shield=True):
                await worker.process.wait()
                await worker.link.aclose()
        up_seconds = 0.0 if worker.ready_at is None else trio.current_time() - worker.ready_at
        return WorkerEnd(worker.process.returncode or 0, up_seconds), worker.process.pid

    async def _await_ready(self, worker: _Worker) -> None:
        with trio.move_on_after(self.plan.start_seconds) as limit:
            line = b""
            while not line.endswith(b"\n"):
                part = await worker.hear()
                if not part:
                    return  # it ends without having been ready
                line += part
            worker.ready, worker.ready_at = Ready.from_line(line), trio.current_time()
            self._anyone_ready.set()
            self._tell_if_all_ready(worker.ready)
        if limit.cancelled_caught:
            self.told(f"pid {worker.process.pid} was not ready after {self.plan.start_seconds:g} seconds; killing it")
            worker.process.kill()

    def _tell_if_all_ready(self, ready: Ready) -> None:
        count = sum(worker.ready is not None for worker in self._workers.values())
        if count == self.plan.processes and not self._is_all_told and not self._stopping.is_set():
            self._is_all_told = True
            each = f"{self.plan.order.config.concurrency} slots each"
            self.ready(f"ready: {count} worker(s), {each}, {ready.tasks} task(s), {ready.store}")

    # All together

    async def _heed(self, signals: AsyncIterator[int]) -> None:
        """The first signal drains, the second interrupts, the third kills."""
        await signals.__anext__()
        self.told("draining; a second signal interrupts what runs")
        self._stopping.set()
        await signals.__anext__()
        self.told("interrupting; a third signal kills")
        self._code = ExitCode.INTERRUPTED
        await self._tell_all(INTERRUPT)
        await signals.__anext__()
        self._kill_all()

    async def _tell_all(self, order: bytes) -> None:
        for worker in list(self._workers.values()):
            await worker.tell(order)

    def _end_with(self, code: int, why: str) -> None:
        if why:
            self.told(why)
        self._code = self._code or code
        self._stopping.set()

    async def _enforce_stop(self) -> None:
        """Whoever has not ended when its time to stop is over will not."""
        await self._stopping.wait()
        await self._tell_all(DRAIN)
        await trio.sleep(self.plan.stop_seconds)
        self._kill_all()

    def _kill_all(self) -> None:
        for worker in self._workers.values():
            worker.process.kill()


async def _start(order: WorkOrder) -> _Worker:
    ours, theirs = socket.socketpair()
    with theirs:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "milepost.cli.worker", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C is for the supervisor, which then tells all workers
        )
    worker = _Worker(process, trio.SocketStream(trio.socket.from_stdlib_socket(ours)))
    await worker.tell(order.to_line())
    return worker


async def _first_of(*events: trio.Event) -> None:
    async with trio.open_nursery() as nursery:

        async def wait(event: trio.Event) -> None:
            await event.wait()
            nursery.cancel_scope.cancel()

        for event in events:
            nursery.start_soon(wait, event)
