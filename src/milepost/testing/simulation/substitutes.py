"""What the house asks of the machine - time, chance, threads - answered by a world while a simulation runs."""

from __future__ import annotations

import logging
import random
import secrets
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any, Final

import outcome
import trio

from milepost import ids
from milepost.executor import lease
from milepost.testing.simulation.process import Process
from milepost.testing.simulation.strands import Strand, StrandEvent, StrandThread
from milepost.testing.simulation.trio_parts import seeded_scheduler
from milepost.testing.simulation.world import World

_REAL: Final = ("milepost.testing", "milepost.stores.sqlite", "milepost.stores.postgres", "milepost.stores.thread")
"""What keeps the machine's own time: the tools, and stores whose threads belong to no simulated process."""


@contextmanager
def substituted(world: World, seed: int) -> Generator[None]:
    """While the block lasts, everything that is not the same twice comes from `world`."""
    state = random.getstate()
    with ExitStack() as undo:
        undo.callback(random.setstate, state)
        random.seed(seed)
        undo.enter_context(seeded_scheduler(seed))
        virtual = SimpleNamespace(monotonic=lambda: world.now, perf_counter=lambda: world.now)
        chance = random.Random(seed)  # beside the global one, which threads of stores draw from as well
        for module in _house():
            if not module.__name__.startswith(_REAL):
                if getattr(module, "time", None) is time:
                    _put(undo, module, "time", virtual)
                if getattr(module, "random", None) is random:
                    _put(undo, module, "random", chance)
            if getattr(module, "token_hex", None) is secrets.token_hex:
                _put(undo, module, "token_hex", world.token_hex)
        # What its executors have to say is in the trace; a store that goes away a thousand times fills every screen.
        executors = logging.getLogger("milepost.executor")
        undo.callback(executors.setLevel, executors.level)
        executors.setLevel(logging.CRITICAL + 1)
        _put(undo, ids, "_uuid7", world.new_id)
        _put(undo, lease, "threading", _threading(world))
        _put(undo, trio.to_thread, "run_sync", _run_sync(world))
        _put(undo, trio.from_thread, "run", _from_thread_run)
        _put(undo, trio.from_thread, "run_sync", _from_thread_run_sync)
        yield


def _house() -> list[ModuleType]:
    return [module for name, module in list(sys.modules.items()) if name.startswith("milepost.")]


def _put(undo: ExitStack, owner: object, name: str, value: object) -> None:
    undo.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, value)


def _threading(world: World) -> SimpleNamespace:
    def thread(*, target: Callable[[], Any], name: str, daemon: bool) -> StrandThread:
        return StrandThread(_current(world), target)

    return SimpleNamespace(Thread=thread, Event=lambda: StrandEvent(lambda: world.now), Lock=threading.Lock)


def _current(world: World) -> Process:
    if world.current is None:
        raise RuntimeError("a thread was started outside of every simulated process")
    return world.current


def _run_sync(world: World) -> Callable[..., Any]:
    async def run_sync(
        sync_fn: Callable[..., Any], *args: Any, limiter: trio.CapacityLimiter | None = None, **_: Any
    ) -> Any:
        await trio.lowlevel.checkpoint_if_cancelled()
        if limiter is None:
            return await _serve(Strand(_current(world), lambda: sync_fn(*args)))
        async with limiter:
            return await _serve(Strand(_current(world), lambda: sync_fn(*args)))

    return run_sync


async def _serve(strand: Strand) -> Any:
    """Wait for a strand's end, and await on the way what it asks for."""
    while True:
        with trio.CancelScope(shield=True):
            while strand.request is None and not strand.has_ended:
                given_back = trio.Event()
                strand.when_given_back = partial(strand.process.do, given_back.set)
                await given_back.wait()
        strand.when_given_back = _nothing
        if strand.was_cut:
            return None  # the simulation is over, and nobody looks at what comes now
        if strand.answer is not None:
            return strand.answer.unwrap()
        if strand.request is not None:
            request, strand.request = strand.request, None
            strand.reply = await outcome.acapture(request)
            strand.wake()


def _nothing() -> None:
    """Nobody waits for the strand."""


def _strand() -> Strand:
    strand = Strand.current()
    if strand is None:
        raise RuntimeError("trio.from_thread was called outside of a thread of a simulated process")
    return strand


def _from_thread_run(afn: Callable[..., Any], *args: Any, trio_token: object = None) -> Any:
    async def request() -> Any:
        with trio.CancelScope(shield=trio_token is not None):  # by token it runs outside of the task's own scope
            return await afn(*args)

    return _strand().ask(request)


def _from_thread_run_sync(fn: Callable[..., Any], *args: Any, trio_token: object = None) -> Any:
    async def request() -> Any:
        return fn(*args)

    return _strand().ask(request)
