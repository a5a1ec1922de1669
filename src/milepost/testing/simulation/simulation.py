"""One simulation from its first event to its report: several executors, one store, one scenario, one seed."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Any, Final, TypeVar, cast, final

import outcome
from attrs import evolve

from milepost.client import Client
from milepost.clock import Clock
from milepost.errors import ClaimLost
from milepost.executor import ExecutorConfig
from milepost.executor.turn import TurnReceipt
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.registry import Registry
from milepost.stores.memory import MemoryStore
from milepost.stores.protocol import Session, Store
from milepost.tasks import AnyTask
from milepost.telemetry import (
    ExecutorStopped,
    LeaseLost,
    LoopStalled,
    Observation,
    ProgressCommitted,
    RunDiscarded,
    StoreChanged,
)
from milepost.testing.simulation.audit import Audit, Invariant, Violation
from milepost.testing.simulation.calls import SimulatedStore, SimulatedWatch
from milepost.testing.simulation.faults import OF_CALLS, OF_CONNECTIONS, Fault, Weather
from milepost.testing.simulation.fleet import Fleet
from milepost.testing.simulation.process import Process
from milepost.testing.simulation.report import SimulationReport
from milepost.testing.simulation.storm import Storm
from milepost.testing.simulation.substitutes import substituted
from milepost.testing.simulation.world import World

T = TypeVar("T")

ALL_FAULTS: Final = frozenset(Fault)
"""Everything that can go wrong; each seed lets a random half of it."""

_BURIAL_TICKS: Final = 20_000
_DEFAULT: Final = ExecutorConfig(lease_seconds=10, cleanup_seconds=1, drain_seconds=5)


@final
class Simulation:
    """What a scenario works with. Time is virtual: `trio.sleep(86_400)` in a scenario takes a day, and milliseconds."""

    def __init__(self, world: World, store: Store, fleet: Fleet, storm: Storm, audit: Audit, process: Process) -> None:
        self._world = world
        self._storm = storm
        self._audit = audit
        self._fleet = fleet
        self._backend = _Backend(world, store, storm, audit, process)
        self.random = Random(world.random.getrandbits(64))
        self.client = Client(SimulatedStore(self._backend, process, store))
        self.shaky_client = Client(SimulatedStore(self._backend, process, store, faults=OF_CONNECTIONS))

    random: Random
    """The seed's own chance, for whatever a scenario draws."""
    client: Client
    """A client to which nothing goes wrong."""
    shaky_client: Client
    """A client whose calls fail and whose replies get lost, as those of executors do."""

    @property
    def now(self) -> datetime:
        """What the store's clock shows."""
        return self._world.wall_clock()

    @property
    def seconds(self) -> float:
        """Virtual time since the beginning."""
        return self._world.now

    def calm(self) -> None:
        """From now on nothing goes wrong any more; what is frozen goes on."""
        self._storm.end()

    def strike(self, fault: Fault) -> None:
        """Let a fault of moments, such as `Fault.KILLED`, happen now to somebody."""
        self._storm.strike(fault)

    def kill_this_process(self) -> None:
        """Called in a task: its process dies at the next checkpoint, as by a bug that takes it down."""
        if self._world.current is not None:
            self._storm.kill(self._world.current)

    def freeze_this_process(self) -> None:
        """Called in a task: its process stands still from the next checkpoint on, perhaps for longer than its lease."""
        if self._world.current is not None and not self._storm.is_over:
            self._storm.freeze(self._world.current)

    def expect(self, holds: bool, what: str) -> None:
        """Report `what` as a violation unless it holds."""
        if not holds:
            self._audit.complain("expected", "scenario", what)

    def note(self, what: str) -> None:
        """Add a line to the trace."""
        self._world.note("scenario", what)

    def record(self, id: TaskId) -> TaskRecord | None:
        """The task as it is in the store at this moment."""
        return self._audit.known.get(id)

    def records(self) -> tuple[TaskRecord, ...]:
        """Every task as it is in the store at this moment."""
        return tuple(self._audit.known.values())

    def owns(self, id: TaskId) -> bool:
        """Called in a task: whether the task is its process's at this moment, and not somebody else's by now."""
        record, process = self._audit.known.get(id), self._world.current
        owner = None if record is None else self._audit.owners.get(record.executor or "")
        return process is not None and owner == process.name


Scenario = Callable[[Simulation], Awaitable[T]]


def simulate(
    seed: int,
    tasks: Iterable[AnyTask],
    scenario: Scenario[T],
    *,
    executors: int = 3,
    config: ExecutorConfig = _DEFAULT,
    faults: Collection[Fault] = ALL_FAULTS,
    invariants: Mapping[str, Invariant] | None = None,
    make_store: Callable[[Clock], Store] = MemoryStore,
    settle: timedelta = timedelta(minutes=10),
    violations_max: int = 20,
) -> SimulationReport[T]:
    """Run `scenario` against several executors of `tasks` and a store, in virtual time, with faults drawn from `seed`.

    Every invariant of the library is checked after each transaction, and each of your own `invariants` on each change
    of a task. After the scenario nothing goes wrong any more; what is due then has `settle` to come to rest, the
    executors drain, and nothing may be left behind. The same seed does the same again, unless the tasks or the scenario
    ask the machine for time or chance. What the scenario raises is raised, and `Stuck` where it waits for ever. After
    `violations_max` violations the simulation stops where it is.

    Call it from a plain function or from trio; it needs no event loop and blocks until it is done.
    """
    world = World(seed)
    registry = Registry.of(tasks)
    policies = {name: evolve(task.policy, stalls_max=config.stalls_max) for name, task in registry.tasks.items()}
    audit = Audit(policies, config.stalls_max, invariants or {}, world.note, lambda: world.now)
    store = make_store(world.wall_clock)  # first, for it may import what asks for chance
    try:
        with substituted(world, seed), _without_collector():
            run = _Run(world, store, list(registry.tasks.values()), config, audit, Weather.drawn(world.random, faults))
            return run.whole(seed, scenario, executors, settle.total_seconds(), violations_max)
    finally:
        store.close()


@final
class _Backend:
    """The way of calls to the store, and what is seen of them."""

    def __init__(self, world: World, store: Store, storm: Storm, audit: Audit, client: Process) -> None:
        self.world = world
        self._store = store
        self._storm = storm
        self._audit = audit
        self._client = client
        self.strikes = storm.strikes
        self.kill = storm.kill
        self.freeze = storm.freeze
        self.is_reachable = storm.is_reachable
        self.listen = storm.listen

    def carry_out(self, process: Process, function: Callable[[Session], T], **options: Any) -> T:
        """Run a transaction, look at what it did, and tell those who listen."""
        try:
            value = self._store.transact_blocking(function, **options)
        except ClaimLost:
            self._audit.sights["stale write refused"] += 1
            raise
        if isinstance(value, TurnReceipt):
            self._audit.sights["stale write refused"] += value.written.count(None)
        is_client = process is self._client
        changes, hints = self._store.read_blocking(
            lambda session: self._audit.look(session, process.name, is_client=is_client)
        )
        for change in changes:
            after = change.after
            told = "is gone" if after is None else f"{after.state.value} {after.fence}.{after.sequence}"
            self.world.note(process.name, f"{change.id} {told}")
        self._storm.tell(hints)
        return value

    def read(self, function: Callable[[Session], T]) -> T:
        """Run a reading transaction."""
        return self._store.read_blocking(function)


@final
class _Run:
    """One simulation."""

    def __init__(
        self,
        world: World,
        store: Store,
        tasks: list[AnyTask],
        config: ExecutorConfig,
        audit: Audit,
        weather: Weather,
    ) -> None:
        self._world = world
        self._config = config
        self._versions = {task.name: task.version for task in tasks}
        self._audit = audit
        self._weather = weather
        self._client = Process("client", lambda: world.now)
        self._fleet = Fleet(world, tasks, config, self._store_of, self._observe)
        self._storm = Storm(world, weather, self._fleet, config.lease_seconds)
        self._backend = _Backend(world, store, self._storm, audit, self._client)
        self._store = store
        self._simulation = Simulation(world, store, self._fleet, self._storm, audit, self._client)

    def whole(
        self, seed: int, scenario: Scenario[T], executors: int, settle_seconds: float, violations_max: int
    ) -> SimulationReport[T]:
        """From the first event to the report."""
        world, client, violations = self._world, self._client, self._audit.violations
        for slot in range(executors):
            world.after(world.random.random(), partial(self._fleet.start, slot))
        self._storm.begin()
        world.begin(client, lambda: scenario(self._simulation))
        try:
            world.run_until(lambda: client.outcome is not None or len(violations) >= violations_max)
            answer: T | None = None
            if client.outcome is not None:
                answer = cast("outcome.Outcome[T]", client.outcome).unwrap()
                self._storm.end()
                self._come_to_rest(settle_seconds, violations_max)
                self._stop(violations_max)
            return self._report(seed, answer)
        finally:
            self._bury_all()

    def _come_to_rest(self, seconds: float, violations_max: int) -> None:
        """I10: when nothing goes wrong any more, whatever is due is done."""
        violations, until = self._audit.violations, self._world.now + seconds
        self._world.run_until(lambda: self._is_at_rest() or len(violations) >= violations_max, at_most=until)
        now = self._world.wall_clock()
        leases = self._audit.leases
        for record in self._audit.known.values():
            lease = leases.get(record.executor or "")
            if record.state is TaskState.RUNNING and (lease is None or not lease.is_alive(now)):
                self._audit.complain("I10", f"task {record.id}", "it runs without anybody who lives")
            elif (
                record.due_at is not None
                and self._can_run(record)
                and (now - record.due_at).total_seconds() > seconds / 2
            ):
                self._audit.complain("I10", f"task {record.id}", f"due since {record.due_at}")

    def _is_at_rest(self) -> bool:
        return not any(each.state is TaskState.RUNNING or self._can_run(each) for each in self._audit.known.values())

    def _can_run(self, record: TaskRecord) -> bool:
        """Whether time alone will bring it to somebody who knows it."""
        return record.due_at is not None and self._versions.get(record.name, 0) >= record.version

    def _stop(self, violations_max: int) -> None:
        """I15: executors that were asked to stop leave nothing behind."""
        self._fleet.retire()
        patience = 2 * (self._config.drain_seconds + 4 * self._config.cleanup_seconds) + 10
        violations, until = self._audit.violations, self._world.now + patience
        if len(violations) >= violations_max:
            return
        ended = self._world.run_until(lambda: not self._fleet.running, at_most=until)
        if not ended:
            names = ", ".join(member.process.name for member in self._fleet.running)
            self._audit.complain("I15", names, f"not stopped {patience:.0f} s after it was asked to")
        for record in self._audit.known.values():
            if record.state is TaskState.RUNNING:
                self._audit.complain("I15", f"task {record.id}", f"still owned by {record.executor}")

    def _report(self, seed: int, answer: T | None) -> SimulationReport[T]:
        return SimulationReport(
            seed=seed,
            violations=tuple(self._audit.violations),
            answer=answer,
            records=tuple(self._audit.known.values()),
            faults=dict(self._weather.counts),
            sights=dict(self._audit.sights),
            seconds=self._world.now,
            changes=self._audit.checked,
            trace_hash=self._world.trace.hash,
            trace=self._world.trace.lines,
        )

    def _bury_all(self) -> None:
        """Unwind what is left of processes that were killed; nothing of it reaches the store."""
        for process in [*self._world.corpses, *self._world.processes]:
            process.is_dead = True
            self._world.current = process
            for strand in list(process.strands):
                strand.cut()
            if process.outcome is None:
                process.cancel()
            for _ in range(_BURIAL_TICKS):
                if process.outcome is not None:
                    break
                self._world.now = max(self._world.now, min(process.idle_until, self._world.now + 3600))
                process.tick()
                for strand in list(process.strands):
                    strand.cut()
            self._world.current = None

    def _store_of(self, process: Process) -> Store:
        return SimulatedStore(self._backend, process, self._store, faults=OF_CALLS)

    def _observe(self, process: Process, observation: Observation) -> None:
        sights = self._audit.sights
        match observation:
            case ProgressCommitted(id=id, sequence=sequence):
                known = self._audit.known.get(id)
                if known is None or known.sequence < sequence:
                    self._audit.complain("I5", f"task {id}", f"sequence {sequence} was acknowledged and is not there")
            case RunDiscarded():
                sights["run discarded"] += 1
            case ExecutorStopped(executor=executor):
                sights["stopped gracefully"] += 1
                owned = [
                    id
                    for id, each in self._audit.known.items()
                    if each.executor == executor and each.state is TaskState.RUNNING
                ]
                if owned or executor in self._audit.leases:
                    self._audit.complain("I15", process.name, f"it stopped and left {executor} behind, with {owned}")
            case LeaseLost():
                sights["lease lost"] += 1
            case LoopStalled():
                sights["loop stalled"] += 1
            case StoreChanged(condition=condition):
                sights[f"store seen {condition.value}"] += 1
            case _:
                return
        self._world.note(process.name, type(observation).__name__)


@contextmanager
def _without_collector() -> Generator[None]:
    """The collector would finalise what it finds at moments that are not the same twice."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


__all__ = ["ALL_FAULTS", "Scenario", "SimulatedWatch", "Simulation", "Violation", "simulate"]
