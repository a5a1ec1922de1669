"""The executors of a simulation: each slot has a process, and gets another one some time after that was killed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

import outcome
import trio

from milepost.errors import StoreError
from milepost.executor import Executor, ExecutorConfig, open_executor
from milepost.stores.protocol import Store
from milepost.tasks import AnyTask
from milepost.telemetry import Observation
from milepost.testing.simulation.process import Process
from milepost.testing.simulation.world import World


@final
class Member:
    """One process of the fleet; `executor` once it has opened."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.executor: Executor | None = None
        self.is_draining = False

    @property
    def is_busy(self) -> bool:
        """Whether it runs any task."""
        return self.executor is not None and self.executor.statistics().running > 0

    def drain(self) -> None:
        """As SIGTERM does."""
        self.is_draining = True
        if self.executor is not None:  # else it does so as soon as it has opened, as a signal is kept meanwhile
            self.process.do(lambda: self._spawn("drain"))

    def interrupt(self) -> None:
        """As a second SIGTERM does."""
        if self.executor is not None:
            self.process.do(lambda: self._spawn("interrupt"))

    def _spawn(self, verb: str) -> None:
        trio.lowlevel.spawn_system_task(getattr(self.executor, verb))


@final
class Fleet:
    """Executors that are replaced when they end, as by a supervisor, until `retire`."""

    def __init__(
        self,
        world: World,
        tasks: Sequence[AnyTask],
        config: ExecutorConfig,
        store_of: Callable[[Process], Store],
        observe: Callable[[Process, Observation], None],
    ) -> None:
        self.members: list[Member] = []
        self.is_retired = False
        self.started = 0
        self._world = world
        self._tasks = tasks
        self._config = config
        self._store_of = store_of
        self._observe = observe

    @property
    def running(self) -> list[Member]:
        """Those whose process lives."""
        return [member for member in self.members if member.process.is_running]

    def start(self, slot: int) -> None:
        """Start the process of a slot."""
        self.started += 1
        process = Process(f"executor {slot}.{self.started}", self._now)
        member = Member(process)
        self.members.append(member)
        self._world.note(process.name, "starts")
        self._world.begin(process, lambda: self._run(member))
        self._world.after(self._pause(), lambda: self._look_after(slot, member))

    def retire(self) -> None:
        """Ask all to stop, and start none any more."""
        self.is_retired = True
        for member in self.running:
            member.drain()

    async def _run(self, member: Member) -> None:
        process = member.process

        def observe(observation: Observation) -> None:
            self._observe(process, observation)

        async with open_executor(
            self._store_of(process), self._tasks, config=self._config, observer=observe
        ) as executor:
            member.executor = executor
            if member.is_draining:
                await executor.drain()
            await executor.wait_stopped()

    def _look_after(self, slot: int, member: Member) -> None:
        if self.is_retired:
            return
        if member.process.is_running:
            self._world.after(self._pause(), lambda: self._look_after(slot, member))
            return
        ended = member.process.outcome
        if isinstance(ended, outcome.Error) and not isinstance(ended.error, StoreError):
            raise ended.error  # a supervisor would start it again and again
        self.start(slot)

    def _pause(self) -> float:
        return self._world.random.uniform(0.2, 3.0)

    def _now(self) -> float:
        return self._world.now
