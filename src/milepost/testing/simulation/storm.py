"""What goes wrong at any moment: processes killed, frozen or asked to stop, a store that is away, clocks that jump."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import final

from milepost.stores.protocol import ANY_HINT, Hint
from milepost.testing.simulation.calls import SimulatedWatch
from milepost.testing.simulation.faults import OF_HINTS, OF_MOMENTS, Fault, Weather
from milepost.testing.simulation.fleet import Fleet, Member
from milepost.testing.simulation.process import Process
from milepost.testing.simulation.world import World

_DENSE_SECONDS = 60.0
"""For how long faults are as frequent as in the beginning."""


@final
class Storm:
    """Strikes now and then until `end`."""

    def __init__(self, world: World, weather: Weather, fleet: Fleet, lease_seconds: float) -> None:
        self.is_over = False
        self.away_until = 0.0
        self._world = world
        self._weather = weather
        self._fleet = fleet
        self._lease_seconds = lease_seconds
        self._cut_off: dict[Process, float] = {}
        self._watches: list[SimulatedWatch] = []
        self._moments = [each for each in OF_MOMENTS if each in weather.enabled]

    def begin(self) -> None:
        """Strike for the first time some time from now."""
        if self._moments:
            # Rarer as time goes by, so that a month of virtual time does not have a million faults.
            mean = self._weather.mean_seconds * max(1.0, self._world.now / _DENSE_SECONDS)
            self._world.after(self._world.random.expovariate(1 / mean), self._strike_now)

    def end(self) -> None:
        """From now on nothing goes wrong; what is frozen goes on."""
        self.is_over = True
        self.away_until = 0.0
        self._cut_off.clear()
        for process in list(self._world.processes):
            process.is_deaf = False
            self._thaw(process)

    def is_reachable(self, process: Process) -> bool:
        """Whether the store answers this process at all."""
        return self._world.now >= max(self.away_until, self._cut_off.get(process, 0.0))

    def strikes(self, process: Process, candidates: tuple[Fault, ...]) -> Fault | None:
        """Whether one of `candidates` strikes `process` now, and which; it is noted."""
        if self.is_over:
            return None
        fault = self._weather.strikes(self._world.random, candidates)
        if fault is not None:
            self._note(process.name, fault)
        return fault

    def kill(self, process: Process) -> None:
        """End a process without a word."""
        self._world.kill(process)
        self._world.note(process.name, "is dead")

    def freeze(self, process: Process) -> None:
        """Stop a process for half of a lease up to three."""
        process.is_frozen = True
        seconds = self._world.random.uniform(0.5, 3) * self._lease_seconds
        self._world.note(process.name, f"is frozen for {seconds:.2f} s")
        self._world.after(seconds, lambda: self._thaw(process))

    def strike(self, fault: Fault) -> None:
        """Let `fault` of `OF_MOMENTS` happen now, to somebody."""
        world, random = self._world, self._world.random
        seconds = random.uniform(0.1, 3) * self._lease_seconds
        match fault:
            case Fault.OUTAGE:
                self._note("store", fault)
                self.away_until = world.now + seconds
            case Fault.CLOCK_STEP:
                self._note("store", fault)
                # Not far back: stores never show a time before one that they have shown, so theirs would stand still.
                step = random.choice((-self._lease_seconds, -1.0, 1.0, self._lease_seconds, 3600.0, 86400.0))
                world.clock_step += timedelta(seconds=step)
                world.note("store", f"steps its clock by {step} s")
            case Fault.FALSE_HINT:
                self._note("store", fault)
                self.tell(ANY_HINT)
            case _:
                self._strike_member(fault, seconds)

    def listen(self, watch: SimulatedWatch) -> None:
        """Tell `watch` of what happens, if it is lucky."""
        self._watches = [each for each in self._watches if not each.is_closed and each.process.is_running]
        self._watches.append(watch)

    def tell(self, hints: Hint) -> None:
        """Send everybody who listens what they listen to."""
        for watch in self._watches:
            if hints & watch.hints and not watch.is_closed and watch.process.is_running:
                self._send(watch)

    def _send(self, watch: SimulatedWatch) -> None:
        world = self._world
        fault = self.strikes(watch.process, OF_HINTS)
        if fault is Fault.LOST_HINT or watch.process.is_deaf:
            return
        delay = world.random.uniform(1, 10) if fault is Fault.LATE_HINT else world.random.random() * 0.002
        world.after(delay, watch.tell)
        if fault is Fault.DOUBLED_HINT:
            world.after(2 * delay, watch.tell)

    def _strike_now(self) -> None:
        if self.is_over:
            return
        self.strike(self._world.random.choice(self._moments))
        self.begin()

    def _strike_member(self, fault: Fault, seconds: float) -> None:
        candidates: list[Member] = [each for each in self._fleet.running if not each.process.is_frozen]
        if fault in (Fault.DRAINED, Fault.INTERRUPTED):
            candidates = [each for each in candidates if each.executor is not None and not each.is_draining]
        if not candidates:
            return
        # Whoever is idle has little to lose.
        busy = [each for each in candidates if each.is_busy]
        member = self._world.random.choice(busy or candidates)
        self._note(member.process.name, fault)
        self._act_on(member, fault, seconds)

    def _act_on(self, member: Member, fault: Fault, seconds: float) -> None:
        process = member.process
        actions: dict[Fault, Callable[[], object]] = {
            Fault.KILLED: lambda: self.kill(process),
            Fault.FROZEN: lambda: self.freeze(process),
            Fault.STALLED: lambda: self._stall(process, seconds),
            Fault.PARTITION: lambda: self._cut_off.__setitem__(process, self._world.now + seconds),
            Fault.DEAF: lambda: setattr(process, "is_deaf", True),
            Fault.DRAINED: member.drain,
            Fault.INTERRUPTED: lambda: self._drain_and_interrupt(member),
        }
        actions[fault]()

    def _drain_and_interrupt(self, member: Member) -> None:
        member.drain()
        self._world.after(self._world.random.uniform(0, 2), member.interrupt)

    def _stall(self, process: Process, seconds: float) -> None:
        process.is_stalled = True
        self._world.after(seconds, lambda: self._thaw(process))

    def _thaw(self, process: Process) -> None:
        if process.is_frozen or process.is_stalled:
            process.is_frozen = process.is_stalled = False
            self._world.note(process.name, "goes on")

    def _note(self, who: str, fault: Fault) -> None:
        self._weather.count(fault)
        self._world.note(who, fault.name)
