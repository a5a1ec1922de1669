"""A process's way to the store: calls that take time and go wrong, hints that come late or never."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NoReturn, Protocol, TypeVar, final

import outcome
import trio

from milepost.errors import (
    CommitUnknown,
    StoreBusy,
    StoreClosed,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreUnreachable,
)
from milepost.stores.protocol import Hint, Session, Store
from milepost.testing.simulation.faults import Fault
from milepost.testing.simulation.process import Process
from milepost.testing.simulation.strands import Strand
from milepost.testing.simulation.world import World

T = TypeVar("T")

_REFUSALS = (StoreUnreachable, StoreBusy, StoreFull, StoreReadOnly)
_CALM_SECONDS = 0.003
_SLOW_SECONDS = (0.2, 2.0, 8.0)


class Backend(Protocol):
    """What calls need of the simulation around them."""

    @property
    def world(self) -> World:
        """Whose time it is."""
        ...

    def strikes(self, process: Process, candidates: tuple[Fault, ...]) -> Fault | None:
        """Whether one of `candidates` strikes `process` now."""
        ...

    def kill(self, process: Process) -> None:
        """End a process without a word."""
        ...

    def freeze(self, process: Process) -> None:
        """Stop a process for a while."""
        ...

    def is_reachable(self, process: Process) -> bool:
        """Whether the store answers this process at all."""
        ...

    def carry_out(self, process: Process, function: Callable[[Session], T], **options: Any) -> T:
        """Run a transaction of `process` in the store, look at what it did, and tell those who listen."""
        ...

    def read(self, function: Callable[[Session], T]) -> T:
        """Run a reading transaction in the store."""
        ...

    def listen(self, watch: SimulatedWatch) -> None:
        """Tell `watch` of what happens."""
        ...


class _RolledBack(Exception):
    """Takes a transaction that was carried out back."""


@final
class SimulatedStore:
    """The `Store` of one process. Calls take a moment, and `faults` may strike them; without any nothing goes wrong."""

    def __init__(self, backend: Backend, process: Process, inner: Store, *, faults: tuple[Fault, ...] = ()) -> None:
        self._backend = backend
        self._process = process
        self._inner = inner
        self._faults = faults

    @property
    def url(self) -> str:
        return self._inner.url

    async def transact(
        self,
        function: Callable[[Session], T],
        *,
        alone: bool = False,
        within_seconds: float | None = None,
        durable: bool = True,
    ) -> T:
        fault = await self._wait_in_line()
        answer: outcome.Outcome[T] | None = None
        with trio.CancelScope(shield=True):  # a call that was taken is never abandoned
            if fault is Fault.FROZEN_BEFORE_CALL:
                self._backend.freeze(self._process)
                await trio.lowlevel.checkpoint()
            answer = outcome.capture(self._carry_out, function, fault, alone=alone, within_seconds=within_seconds)
            if fault is Fault.FROZEN_AFTER_CALL:
                self._backend.freeze(self._process)
            await trio.sleep(self._travel_seconds(fault))
        assert answer is not None
        return answer.unwrap()

    def transact_blocking(
        self,
        function: Callable[[Session], T],
        *,
        alone: bool = False,
        within_seconds: float | None = None,
        durable: bool = True,
    ) -> T:
        fault = self._fate()
        _wait(self._backend.world, self._travel_seconds(fault))
        if fault is Fault.FROZEN_BEFORE_CALL:
            self._backend.freeze(self._process)
            _wait(self._backend.world, 0)
        answer = outcome.capture(self._carry_out, function, fault, alone=alone, within_seconds=within_seconds)
        if fault is Fault.FROZEN_AFTER_CALL:
            self._backend.freeze(self._process)
        _wait(self._backend.world, self._travel_seconds(fault))
        return answer.unwrap()

    async def read(self, function: Callable[[Session], T]) -> T:
        fault = await self._wait_in_line()
        return self._read(function, fault)

    def read_blocking(self, function: Callable[[Session], T]) -> T:
        return self._read(function, self._fate())

    def over(self, connection: Any) -> NoReturn:
        raise TypeError("a simulated store has no connections")

    def watch(self, hints: Hint) -> SimulatedWatch:
        watch = SimulatedWatch(self._backend.world, self._process, hints)
        self._backend.listen(watch)
        return watch

    def close(self) -> None:
        """Nothing to do: the simulation closes what is behind it."""

    def _fate(self) -> Fault | None:
        return self._backend.strikes(self._process, self._faults) if self._faults else None

    async def _wait_in_line(self) -> Fault | None:
        await trio.lowlevel.checkpoint_if_cancelled()
        fault = self._fate()
        await trio.sleep(self._travel_seconds(fault))
        return fault

    def _travel_seconds(self, fault: Fault | None) -> float:
        random = self._backend.world.random
        return random.choice(_SLOW_SECONDS) if fault is Fault.SLOW_CALL else random.random() * _CALM_SECONDS

    def _carry_out(self, function: Callable[[Session], T], fault: Fault | None, **options: Any) -> T:
        backend, process = self._backend, self._process
        self._check(fault)
        if fault is Fault.KILLED_BEFORE_CALL:
            backend.kill(process)
            raise StoreClosed("the process was killed")
        if fault in (Fault.ROLLED_BACK, Fault.CALLED_TWICE):
            self._try_in_vain(function)
        if fault is Fault.ROLLED_BACK:
            raise StoreUnreachable("simulated: the COMMIT failed")
        value = backend.carry_out(process, function, **options)
        if fault is Fault.KILLED_AFTER_CALL:
            backend.kill(process)
        if fault is Fault.LOST_REPLY:
            raise CommitUnknown("simulated: the connection was lost while the COMMIT was under way")
        return value

    def _try_in_vain(self, function: Callable[[Session], object]) -> None:
        def tried(session: Session) -> NoReturn:
            function(session)
            raise _RolledBack

        try:
            self._backend.carry_out(self._process, tried)
        except _RolledBack:
            return

    def _read(self, function: Callable[[Session], T], fault: Fault | None) -> T:
        self._check(fault)
        return self._backend.read(function)

    def _check(self, fault: Fault | None) -> None:
        backend = self._backend
        if self._process.is_dead:
            raise StoreClosed("the process was killed")
        if self._faults and not backend.is_reachable(self._process):
            raise StoreUnreachable("simulated: the store cannot be reached")
        if fault is Fault.REFUSED:
            refusal: type[StoreError] = backend.world.random.choice(_REFUSALS)
            raise refusal(f"simulated: {refusal.__name__}")


@final
class SimulatedWatch:
    """The `Watch` of one process; a hint that arrives between two waits is kept."""

    def __init__(self, world: World, process: Process, hints: Hint) -> None:
        self.process = process
        self.hints = hints
        self.is_closed = False
        self._world = world
        self._heard = False
        self._event: trio.Event | None = None
        self._strand: Strand | None = None

    def tell(self) -> None:
        """A hint arrives."""
        self._heard = True
        if self._event is not None:
            self.process.do(self._event.set)
        if self._strand is not None:
            self._strand.wake()

    async def wait(self, seconds: float) -> bool:
        self._event = trio.Event()
        if self._heard:
            await trio.lowlevel.checkpoint()
        else:
            with trio.move_on_after(seconds):
                await self._event.wait()
        heard, self._heard = self._heard, False
        return heard

    def wait_blocking(self, seconds: float) -> bool:
        until = self._world.now + seconds
        self._strand = Strand.current()
        while self._strand is not None and not self._heard and self._world.now < until:
            self._strand.wait(until)
        heard, self._heard, self._strand = self._heard, False, None
        return heard

    def close(self) -> None:
        self.is_closed = True


def _wait(world: World, seconds: float) -> None:
    strand = Strand.current()
    until = world.now + seconds
    while strand is not None and (world.now < until or math.isinf(until)):
        strand.wait(until)
        if seconds == 0:
            return
