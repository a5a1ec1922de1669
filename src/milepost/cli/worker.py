"""A worker process of `milepost run`: one executor, and nothing else. `python -m milepost.cli.worker SOCKET_FD`.

It obeys its supervisor through a socket, and drains when that ends: then the supervisor is gone, however it went.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial

import trio

from milepost.cli.ends import ExitCode, exit_code_of, told
from milepost.cli.order import DRAIN, INTERRUPT, Ready, WorkOrder
from milepost.cli.target import load_tasks
from milepost.errors import MilepostError
from milepost.executor import Executor, run_executor
from milepost.stores.open import open_store
from milepost.tasks import AnyTask

_LOG_FORMAT = "%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s"


def main(arguments: Sequence[str]) -> int:
    """Run tasks until told to stop; returns the exit code."""
    with _link(int(arguments[0])) as link:
        with link.makefile("rb", buffering=0) as lines:  # unbuffered: what follows the line is for `_obey`
            line = lines.readline()
        return _carry_out(line, link) if line else ExitCode.DONE  # without a line the supervisor was gone at once


def _carry_out(line: bytes, link: socket.socket) -> int:
    code = ExitCode.DONE
    try:
        order = WorkOrder.from_line(line)
        tasks = load_tasks(order.app)
        logging.basicConfig(level=logging.INFO, format=_LOG_FORMAT)  # of no effect where the app has set up its own
        trio.run(_work, order, tasks, link)
    except* MilepostError as faults:
        error = _first(faults)
        print(f"milepost: {told(error)}", file=sys.stderr, flush=True)
        code = exit_code_of(error)
    except* KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    return code


def _link(descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)  # a process that a task starts must not seem to be the supervisor
    return socket.socket(fileno=descriptor)


async def _work(order: WorkOrder, tasks: Sequence[AnyTask], link: socket.socket) -> None:
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(link))
    async with open_store(order.store) as store, trio.open_nursery() as nursery:
        signals = (signal.SIGTERM, signal.SIGINT)
        executor = await nursery.start(partial(run_executor, store, tasks, config=order.config, signals=signals))
        obeying = trio.CancelScope()
        nursery.start_soon(_obey, stream, executor, obeying)
        await _tell(stream, Ready(executor.id, store.url, len(tasks)))
        await executor.wait_stopped()
        obeying.cancel()


async def _tell(stream: trio.SocketStream, ready: Ready) -> None:
    try:
        await stream.send_all(ready.to_line())
    except trio.BrokenResourceError:
        return  # the supervisor is gone, which `_obey` notices


async def _obey(stream: trio.SocketStream, executor: Executor, scope: trio.CancelScope) -> None:
    with scope:
        async with trio.open_nursery() as nursery:
            said = DRAIN
            while said:
                said = await _heard(stream)
                if INTERRUPT in said:
                    nursery.start_soon(executor.interrupt)
                elif DRAIN in said or not said:
                    nursery.start_soon(executor.drain)


async def _heard(stream: trio.SocketStream) -> bytes:
    try:
        return bytes(await stream.receive_some())
    except trio.BrokenResourceError:
        return b""


def _first(faults: BaseExceptionGroup[MilepostError]) -> MilepostError:
    first = faults.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
