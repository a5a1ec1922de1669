"""One executor's life: it holds a lease, takes turns, and winds down when it is asked to."""

from __future__ import annotations

import logging
from functools import partial
from typing import final

import trio

from milepost.errors import StoreError
from milepost.executor.commits import Commits
from milepost.executor.config import ExecutorConfig
from milepost.executor.pruning import Pruning
from milepost.executor.run import Run
from milepost.executor.scheduling import Scheduling
from milepost.executor.statistics import ExecutorStatistics
from milepost.executor.tending import tend_limits
from milepost.executor.turn import release_all
from milepost.executor.turns import Turns
from milepost.registry import Registry
from milepost.stores.protocol import Hint, Store
from milepost.tasks import StopKind, Stopping
from milepost.telemetry import ExecutorStarted, ExecutorStopped, LoopStalled, Observer

_log = logging.getLogger("milepost.executor")


@final
class Engine:
    """`run` is the executor's life; everything else asks something of it."""

    def __init__(self, store: Store, registry: Registry, config: ExecutorConfig, observer: Observer | None) -> None:
        self.stopped = trio.Event()
        self._store = store
        self._drain_asked = trio.Event()
        self._interrupt_asked = trio.Event()
        self._reconfigured = trio.Event()
        self._turns = Turns(store, registry, config, begin=self._begin, observer=observer)
        self._commits = Commits(store, self._turns)
        self._pruning = Pruning(store, lambda: self.config)
        self._scheduling = Scheduling(store, lambda: self.config, self._turns.tell)

    @property
    def executor(self) -> str:
        """The id under which it holds its lease."""
        return self._turns.standing.executor

    @property
    def broken(self) -> BaseException | None:
        """What came while a function ran and stops the whole program, such as Ctrl-C."""
        return self._turns.workload.broken

    @property
    def config(self) -> ExecutorConfig:
        """The settings that it works with."""
        return self._turns.config

    async def open(self) -> None:
        """Take a lease; `run` must follow. Raises StoreError when the store cannot be written."""
        await self._turns.standing.open()

    async def run(self) -> None:
        """Keep the lease and take turns until asked to stop; then wind down."""
        with trio.CancelScope(shield=True):  # what is outside must not cut the winding down; it asks, by `interrupt`
            keeper = self._turns.standing.keeper
            try:
                async with trio.open_nursery() as system:
                    loops = (self._turns.run, self._listen, self._keep_house, self._tell_of_changes, self._pruning.run)
                    for loop in (*loops, self._tend_limits, self._scheduling.run):
                        system.start_soon(loop)
                    self._turns.tell(ExecutorStarted(self.executor))
                    async with trio.open_nursery() as self._bodies:
                        system.start_soon(self._watch_for_breaks)
                        await self._drain_asked.wait()
                        await self._wind_down()
                    system.cancel_scope.cancel()
            finally:
                keeper.close()
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(keeper.join)
                self.stopped.set()

    def drain(self) -> None:
        """Stop claiming, let runs finish for `drain_seconds`, then interrupt them."""
        self._turns.appetite.claiming = False
        self._drain_asked.set()

    def interrupt(self) -> None:
        """Stop without letting runs finish: they are asked to stop at once."""
        self._interrupt_asked.set()
        self.drain()

    def reconfigure(self, config: ExecutorConfig) -> None:
        """Go on with other settings from the next turn on; what runs is not disturbed."""
        self._turns.use(config)
        self._reconfigured.set()

    def statistics(self) -> ExecutorStatistics:
        """A frozen look."""
        turns = self._turns
        return ExecutorStatistics(
            executor=self.executor,
            running=turns.workload.active,
            claimed=turns.claimed,
            ended=turns.ended,
            commits=turns.commits,
            discarded=turns.workload.discarded,
            refused=turns.refused,
            turns=turns.taken,
            pruned=self._pruning.total.tasks,
            fired=self._scheduling.fired,
            store=turns.health.condition,
        )

    def _begin(self, runs: list[Run]) -> None:
        self._turns.workload.begin(runs, self._bodies, self._commits)

    async def _wind_down(self) -> None:
        turns, workload, cleanup = self._turns, self._turns.workload, self.config.cleanup_seconds
        with trio.move_on_after(self.config.drain_seconds):
            async with trio.open_nursery() as waiting:
                waiting.start_soon(self._until_interrupted, waiting.cancel_scope)
                await workload.wait_for(lambda: workload.active == 0)
                waiting.cancel_scope.cancel()
        workload.stop_all(Stopping(StopKind.SHUTDOWN))
        # The clean-up of the runs, which `hurry` ends, and the storing of what they became.
        with trio.move_on_after(2 * cleanup + 1):
            await workload.wait_for(lambda: not workload.runs and turns.is_idle)
        with trio.move_on_after(cleanup + 1):
            await self._give_back()
        # Whoever still waits for a commit of theirs waits in vain, and would keep the executor from ending.
        workload.lose_all()

    async def _until_interrupted(self, waiting: trio.CancelScope) -> None:
        await self._interrupt_asked.wait()
        waiting.cancel()

    async def _give_back(self) -> None:
        turns = self._turns
        lines = turns.logs.take()  # of runs whose end could not be carried any more
        give_back = partial(release_all, policies=turns.policies, lines=lines)
        try:
            released = await turns.standing.give_back(give_back)
            turns.tell(ExecutorStopped(self.executor, released))
        except StoreError as error:
            _log.warning("could not give the lease back (%s): the others wait until it runs out", error)

    async def _listen(self) -> None:
        watch = self._store.watch(Hint.DUE | Hint.CANCEL)
        try:
            while True:
                if await watch.wait(max(60, self.config.poll_seconds)):
                    self._turns.hear()
        finally:
            watch.close()

    async def _tell_of_changes(self) -> None:
        """Let the others know of settings that changed, as soon as the store can be told."""
        while True:
            await self._reconfigured.wait()
            self._reconfigured = trio.Event()
            try:
                await self._turns.standing.announce_again()
            except StoreError:  # the turns see the same store fail and report it
                await trio.sleep(self.config.poll_seconds)
                self._reconfigured.set()

    async def _tend_limits(self) -> None:
        await tend_limits(self._store, lambda: self._turns.policies, lambda: self.config.poll_seconds)

    async def _watch_for_breaks(self) -> None:
        """Once something stops the whole program, give back what runs before it does."""
        workload = self._turns.workload
        await workload.wait_for(lambda: workload.broken is not None)
        self.interrupt()

    async def _keep_house(self) -> None:
        """See to limits of time: clean-ups that take too long, a lease that ran out, a loop that stood still."""
        turns = self._turns
        while True:
            config = turns.config
            if not turns.workload.runs:  # nothing to see to but the lease, which the idle turns look at too
                with trio.move_on_after(config.lease_seconds / 3):
                    await turns.workload.wait_for(lambda: bool(turns.workload.runs))
            pause = min(config.poll_seconds / 4, config.lease_seconds / 20, config.cleanup_seconds / 4)
            await trio.sleep(max(0.005, pause))
            turns.workload.hurry(config.cleanup_seconds)
            if turns.standing.is_lost:
                turns.give_up_runs()
            elif turns.reports or turns.logs:
                turns.kick()
            stalled = turns.standing.keeper.take_stall()
            if stalled is not None:
                turns.tell(LoopStalled(self.executor, stalled))
